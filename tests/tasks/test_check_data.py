from __future__ import annotations

import csv
import json
import logging
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flawed_images import FOUND, write_flawed
from whole_runs import Command, metrics_of


def own(folder: Path, *overrides: str) -> tuple[str, ...]:
    words = ("task=check_data", "dataset=image_folder", "dataset.num_classes=2")
    return (*words, f"dataset.data_url={folder}", *overrides)


def pack(folder: Path) -> None:
    """The splits of a data set as tars."""
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}.tar", "w") as tar:
            tar.add(folder / split, ".")
        (folder / split).rename(folder / f"old {split}")


def pack_in_shards(folder: Path) -> None:
    """The splits of a data set as shards, with every other file in the second."""
    for split in ("train", "val"):
        paths = sorted(folder.glob(f"{split}/*/*"))
        for number in range(2):
            with tarfile.open(folder / f"{split}-{number}.tar", "w") as tar:
                for path in paths[number::2]:
                    tar.add(path, f"{path.parent.name}/{path.name}")
        (folder / split).rename(folder / f"old {split}")


@pytest.mark.parametrize("pack", [None, pack, pack_in_shards])
def test_leaks_copies_and_odd_files_are_told(
    work: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    pack: Callable[[Path], None] | None,
) -> None:
    write_flawed(tmp_path / "data")
    if pack is not None:
        pack(tmp_path / "data")
    with caplog.at_level(logging.INFO, "beit_exp"):
        run = work(*own(tmp_path / "data"))
    assert metrics_of(run) == FOUND
    told = [record.getMessage() for record in caplog.records if "check_data" in record.name]
    assert told[0].startswith("leak        2 images of val are in train, too (1 the same file, 1 ")
    assert told[-1] == f"report      {run}/report/report.html"
    assert "2 images of val are in train, too" in (run / "report" / "report.html").read_text()
    assert json.loads((run / "data.json").read_text())["metrics"] == FOUND
    assert (run / "duplicates.csv").read_text().count("\n") == 5


def test_splits_of_a_table_and_of_the_settings_are_looked_at(
    work: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_flawed(tmp_path / "data") / "train"
    rows = [("path", "label", "split")]
    for place in (folder / "cat", folder / "dog"):
        for path in sorted(place.glob("[0-9]*.png")):
            rows.append((str(path), place.name, "val" if path.stem == "0" else "train"))
    rows.append((str(folder / "cat" / "smaller.png"), "cat", "test"))  # of 2.png, in train
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    run = work(*own(folder, f"dataset.labels={tmp_path / 'labels.csv'}"), name="table")
    leaks = json.loads((run / "data.json").read_text())["leaks"]
    assert leaks == [{"first": "train", "second": "test", "exact": 0, "near": 1}]
    found = metrics_of(work(*own(folder, "dataset.val_fraction=0.25"), name="shares"))
    assert (found["data/train_images"], found["data/val_images"]) == (9, 3)
    assert found["data/duplicates"] == found["data/near_duplicates"] == 1
    assert found["data/other_files"] == 1


def test_images_that_cannot_be_read_end_the_task_when_all_is_written(
    work: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_flawed(tmp_path / "data")
    (folder / "train" / "dog" / "3.png").write_bytes(b"")
    run = work(*own(folder), status=2)
    bad = (run / "bad_images.txt").read_text()
    assert bad.startswith(f"{folder}/train/dog/3.png cannot be read as an image")
    assert json.loads((run / "data.json").read_text())["unreadable"]["count"] == 1
    assert "cannot be read as an image" in (run / "report" / "report.html").read_text()
    (folder / "train" / "dog" / "3.png").unlink()
    work(*own(folder))
    assert not (run / "bad_images.txt").exists()


def test_every_split_is_read(work: Callable[..., Path], few_digits: Path) -> None:
    own = ("dataset=image_folder", f"dataset.data_url={few_digits}", "dataset.num_classes=10")
    found = metrics_of(work("task=check_data", *own, "dataset.test_fraction=0.25"))
    sizes = {split: found[f"data/{split}_images"] for split in ("train", "val", "test")}
    assert sizes == {"train": 60, "val": 50, "test": 20}


@pytest.mark.long
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
