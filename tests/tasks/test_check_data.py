from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from whole_runs import (
    Command,
    metrics_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def damaged(few_digits: Path, tmp_path: Path) -> Path:
    """A data set with an empty, a truncated and a foreign file among its training images."""
    folder = tmp_path / "damaged"
    shutil.copytree(few_digits, folder)
    files = sorted((folder / "train" / "7").iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:60])
    files[2].write_bytes(b"<html>not found</html>")
    return folder


def test_bad_images_are_found_by_a_scan(launch: Command, damaged: Path, few_digits: Path) -> None:
    done = launch("task=check_data", f"dataset.data_url={damaged}", "hydra.run.dir=scan")
    assert done.returncode == 2 and "3 images cannot be read:" in done.stdout
    listed = (launch.folder / "scan" / "bad_images.txt").read_text().splitlines()
    assert [line.split(" cannot")[0] for line in listed] == [
        str(path) for path in sorted((damaged / "train" / "7").iterdir())[:3]
    ]
    sound = launch("task=check_data", f"dataset.data_url={few_digits}", "hydra.run.dir=sound")
    assert sound.returncode == 0
    assert metrics_of(launch.folder / "sound")["data/train_images"] == 80
