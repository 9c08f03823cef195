from __future__ import annotations

import csv
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from whole_runs import Command


def paths_in(folder: Path) -> list[str]:
    with (folder / "images.csv").open() as file:
        return [row["path"] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_features_of_a_run_are_those_of_its_splits_and_of_any_images(
    finished: tuple[Command, Path], work: Callable[..., Path], few_digits: Path, tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={finished[1]}"
    splits = work("task=features", checkpoint, name="splits") / "features"
    shapes = {str(path.relative_to(splits)): np.load(path).shape for path in splits.rglob("*.npy")}
    assert shapes == {"train/block0.npy": (80, 32), "val/block0.npy": (50, 32)}
    assert paths_in(splits / "val") == sorted(map(str, (few_digits / "val").rglob("*.png")))

    archive_path = tmp_path / "images.tar"
    with tarfile.open(archive_path, "w") as archive:
        archive.add(few_digits / "val", "digits")
    of_folder = work("task=features", checkpoint, f"images={few_digits / 'val'}", name="folder")
    of_tar = work("task=features", checkpoint, f"images={archive_path}", name="tar")
    for run_dir in (of_folder, of_tar):
        found = np.load(run_dir / "features" / "images" / "block0.npy")
        np.testing.assert_array_equal(found, np.load(splits / "val" / "block0.npy"))
    names = paths_in(of_tar / "features" / "images")
    assert names == [
        f"digits/{Path(path).relative_to(few_digits / 'val')}" for path in paths_in(splits / "val")
    ]
