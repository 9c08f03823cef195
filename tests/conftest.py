"""Shared pieces of the tests: composed configurations, small image folders, and the command as a
user calls it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from beit_exp.config.mapping import build_config
from beit_exp.config.schema import Config
from beit_exp.data.digits import write_digits

os.environ.setdefault("GLOG_v", "3")
ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


def compose(*overrides: str) -> dict[str, Any]:
    """The plain values that launch.py would check."""
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)


def make_config(*overrides: str) -> Config:
    return build_config(compose(*overrides))


AGREEMENT: dict[str, tuple[float, float]] = {}  # part -> largest difference, what is allowed


def agree(
    part: str, found: np.ndarray, expected: np.ndarray, *, within: float, relative: bool = False
) -> None:
    """Assert that two arrays agree, and keep the largest difference for the table at the end of the
    session.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, part
    difference = float(np.abs(found - expected).max() / (np.abs(expected).max() if relative else 1))
    AGREEMENT[part] = (max(difference, AGREEMENT.get(part, (0.0, 0.0))[0]), within)
    assert difference <= within, f"{part}: differs by {difference:.2g}, allowed {within:g}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if AGREEMENT:
        terminalreporter.section("agrees with the public originals")
    for part, (difference, within) in AGREEMENT.items():
        terminalreporter.write_line(
            f"{part:50} largest difference {difference:.1e}, allowed {within:.0e}"
        )


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits data set, written once."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    write_digits(folder)
    return folder


@pytest.fixture(scope="session")
def few_digits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 80 training and 50 validation digits, for runs of seconds."""
    folder = tmp_path_factory.mktemp("few")
    for split, each in (("train", 8), ("val", 5)):
        for label in range(10):
            target = folder / split / str(label)
            target.mkdir(parents=True)
            for path in sorted((digits / split / str(label)).iterdir())[:each]:
                (target / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A smooth colour picture with some texture."""
    y, x = np.mgrid[0:120, 0:160]
    noise = np.random.default_rng(0).integers(0, 40, (120, 160, 3))
    pixels = np.stack([x * 1.3, y * 1.7, (x + y) * 0.7], axis=-1) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


TINY = (
    "model.embed_dim=32",
    "model.depth=2",
    "model.num_heads=2",
    "model.patch_size=16",
    "train.batch_size=16",
    "train.log_every_steps=1",
    "scheduler.warmup_length=1",
)


class Command:
    """`python launch.py ...` in a folder of its own, as a user would type it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"
        }
        return subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __call__(self, *arguments: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def runs(self):
        """Every tracked run, the oldest first."""
        client = self.client()
        experiment = client.get_experiment_by_name("beit")
        return list(
            reversed(
                client.search_runs(
                    [experiment.experiment_id], order_by=["attributes.start_time DESC"]
                )
            )
        )


@pytest.fixture
def launch(tmp_path: Path) -> Command:
    return Command(tmp_path)
