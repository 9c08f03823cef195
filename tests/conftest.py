"""Fixtures of all tests: small image folders, a picture, and the command as a user calls it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from agreement import AGREEMENT
from PIL import Image
from whole_runs import Command

from beit_exp.data.digits import write_digits

os.environ.setdefault("GLOG_v", "3")


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


@pytest.fixture
def launch(tmp_path: Path) -> Command:
    return Command(tmp_path)
