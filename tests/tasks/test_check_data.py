from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from whole_runs import Command, metrics_of


def test_every_split_is_read(work: Callable[..., Path], few_digits: Path) -> None:
    own = ("dataset=image_folder", f"dataset.data_url={few_digits}", "dataset.num_classes=10")
    found = metrics_of(work("task=check_data", *own, "dataset.test_fraction=0.25"))
    sizes = {split: found[f"data/{split}_images"] for split in ("train", "val", "test")}
    assert sizes == {"train": 60, "val": 50, "test": 20}


@pytest.mark.slow
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
