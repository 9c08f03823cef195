from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import Command, metrics_of

pytestmark = pytest.mark.slow


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
