from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import Command, small


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> tuple[Command, Path]:
    """A finished run, and the command in its folder."""
    command = Command(tmp_path_factory.mktemp("finished"))
    done = command(
        *small(few_digits, "optimizer.base_lr=3e-5", "scheduler.min_lr=1e-7", "hydra.run.dir=run")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return command, command.folder / "run"
