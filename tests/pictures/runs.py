"""The runs that pictures are made of: `python launch.py ...`, typed once in a folder that keeps
them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from settings import ROOT

from pictures.pty_run import run_in_terminal

COLUMNS = 100
TERMINAL_FILE = "terminal.txt"


class Runs:
    """The runs below a folder; what is there is taken, what is not is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def typed(self, name: str, *arguments: str) -> Path:
        """The folder in which `python launch.py ARGUMENTS` was typed; what it wrote to its terminal
        stands in TERMINAL_FILE.
        """
        place = self.folder / name
        kept = place / TERMINAL_FILE
        if not kept.exists():
            place.mkdir(parents=True, exist_ok=True)
            (place / "launch.py").unlink(missing_ok=True)
            (place / "launch.py").symlink_to(ROOT / "launch.py")
            written = run_in_terminal(
                [sys.executable, "launch.py", *arguments],
                folder=place,
                columns=COLUMNS,
                environment=_environment(),
            )
            kept.write_bytes(written.encode())
        return place

    def quickstart(self) -> Path:
        """`python launch.py`, as it is."""
        return self.typed("quickstart")

    def sweep(self) -> Path:
        """A sweep of the layer decay, in the folder `sweep`."""
        return self.typed("sweep", *SWEEP, "hydra.sweep.dir=sweep")


SWEEP = ("-m", "sweep=layer_decay", "train.epochs=12", "train.eval_every_epochs=1")


def run_directory(place: Path) -> Path:
    """The run of a command typed in a folder: the newest, should an earlier one have failed."""
    return max(folder for folder in (place / "runs").iterdir() if folder.is_dir())


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return {**own, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
