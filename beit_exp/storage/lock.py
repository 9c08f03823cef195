"""One process at a time in a run directory."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO

from beit_exp.errors import UserError


def lock_log(log: Path) -> TextIO:
    """Be alone in the run directory of a log, as long as the returned file is open.

    Two workers would ruin each other's files, so a second one gets a `UserError`.
    """
    file = log.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"another process is at work in {log.parent}: "
            "wait for its end, or choose another hydra.run.dir"
        ) from None
    return file
