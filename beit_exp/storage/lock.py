"""One process at a time in a run directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beit_exp.errors import UserError


@contextmanager
def locking(log: Path) -> Iterator[None]:
    """Be alone in the run directory of a log.

    Two workers would ruin each other's files, so a second one gets a `UserError`.
    """
    with log.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is at work in {log.parent}: "
                "wait for its end, or choose another hydra.run.dir"
            ) from None
        yield
