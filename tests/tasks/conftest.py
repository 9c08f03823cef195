from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from once import made_once
from settings import compose
from whole_runs import Command, small

from beit_exp import worker
from beit_exp.config.mapping import build_config
from beit_exp.hardware.process import LAUNCHER
from beit_exp.launch.overrides import adopt_run
from beit_exp.launch.run_directory import prepare


@pytest.fixture(scope="session")
def finished(shared: Path, empty_store: Path, few_digits: Path) -> tuple[Command, Path]:
    """A finished run, and the command in its folder."""

    def train(folder: Path) -> None:
        shutil.copy(empty_store, folder / "mlflow.db")
        done = Command(folder)(
            *small(few_digits, "optimizer.base_lr=3e-5", "scheduler.min_lr=1e-7", "model.depth=1"),
            "hydra.run.dir=run",
        )
        assert done.returncode == 0, done.stdout + done.stderr

    folder = made_once(shared / "finished", train)
    return Command(folder), folder / "run"


@pytest.fixture
def work(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Does a task with these settings, as a worker does but in this process, which saves the five
    seconds that another takes to start; returns the run's directory.
    """
    monkeypatch.setenv(LAUNCHER, str(os.getpid()))
    monkeypatch.setattr(worker, "set_up_logging", lambda *_, **__: None)  # pytest has its own

    def do(*overrides: str, name: str = "run", status: int = 0) -> Path:
        words = [*overrides, f"tracking.uri={store}", "hardware.node_num=1"]
        cfg = build_config(adopt_run(OmegaConf.create(compose(*words)), words))
        prepare(cfg, tmp_path / name)
        assert worker.main([str(tmp_path / name)]) == status
        return tmp_path / name

    return do
