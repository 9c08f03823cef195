from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.pool import pool_classes, pool_table
from beit_exp.errors import UserError


def config(folder: Path, *overrides: str, classes: int = 2) -> Config:
    words = ("dataset=image_folder", f"dataset.num_classes={classes}")
    return make_config(*words, f"dataset.data_url={folder}", *overrides)


def make_images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Class folders with folders of patients, and images beside these."""
    names = [f"{cls}/p{p}/{n}.png" for cls in ("ill", "well") for p in range(6) for n in range(3)]
    return make_images(tmp_path / "data", *names, "ill/1.png", "ill/2.png")


def write_table(path: Path, *rows: tuple[str, ...]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return f"dataset.labels={path}"


def test_the_images_of_a_folder_below_a_class_stay_together(patients: Path) -> None:
    words = ("dataset.val_fraction=0.3", "dataset.groups=folder")
    pool = pool_classes(config(patients, *words), patients, patients)
    assert pool.groups is not None and pool.groups[:3] == ["ill/1.png", "ill/2.png", "ill/p0"]
    sides = {(group, side) for group, side in zip(pool.groups, pool.splits, strict=True)}
    assert len(sides) == len(set(pool.groups))
    assert sum(len(pool.open_split(split)) for split in ("train", "val")) == 38


def test_the_order_of_the_file_system_changes_nothing(patients: Path, monkeypatch) -> None:
    cfg = config(patients, "dataset.val_fraction=0.3", "dataset.test_fraction=0.2")
    first, walk = pool_classes(cfg, patients, patients), os.walk

    def backwards(*arguments, **words):
        for root, folders, names in walk(*arguments, **words):
            folders.sort(reverse=True)
            yield root, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    again = pool_classes(cfg, patients, patients)
    assert again.images.paths == first.images.paths
    assert again.splits.tolist() == first.splits.tolist()


def test_the_order_of_a_table_changes_nothing(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(30)]
    make_images(tmp_path, *names)
    rows = [(name, "ab"[number % 2], str(number // 3)) for number, name in enumerate(names)]
    order = np.random.default_rng(0).permutation(30)
    head = ("path", "label", "group")
    found = []
    for chosen in (rows, [rows[number] for number in order]):
        labels = write_table(tmp_path / "t.csv", head, *chosen)
        words = (labels, "dataset.val_fraction=0.2", "dataset.groups=table")
        found.append(pool_table(config(tmp_path, *words), tmp_path).open_split("val").paths)
    assert found[0] == found[1] and len(found[0]) == 6


def test_a_table_tells_the_split_itself(tmp_path: Path) -> None:
    make_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    head = ("path", "label", "split", "group")
    rows = (("a.png", "x", "train", "1"), ("b.png", "y", "train", "2"), ("c.png", "x", "val", "1"))
    labels = write_table(tmp_path / "t.csv", head, *rows)
    pool = pool_table(config(tmp_path, labels), tmp_path)
    assert pool.open_split("val").paths == [str(tmp_path / "c.png")]
    assert set(pool.splits) == {"train", "val"}
    with pytest.raises(UserError, match=r"dataset.val_fraction = 0.2: must be 0, for .* a column"):
        pool_table(config(tmp_path, labels, "dataset.val_fraction=0.2"), tmp_path)
    with pytest.raises(UserError, match="images of the group '1' in train and in val"):
        pool_table(config(tmp_path, labels, "dataset.groups=table"), tmp_path)


def test_a_table_without_a_split_needs_a_share(tmp_path: Path) -> None:
    make_images(tmp_path, "a.png", "b.png")
    labels = write_table(tmp_path / "t.csv", ("path", "label"), ("a.png", "x"), ("b.png", "y"))
    with pytest.raises(UserError, match=r"t.csv tells no split: .*say dataset.val_fraction=0.2"):
        pool_table(config(tmp_path, labels), tmp_path)


def test_the_folders_of_a_table_are_groups_of_several_classes(tmp_path: Path) -> None:
    names = [f"p{p}/{n}.png" for p in range(8) for n in range(4)]
    make_images(tmp_path, *names, "alone.png")
    rows = [(name, "xy"[number % 2]) for number, name in enumerate([*names, "alone.png"])]
    labels = write_table(tmp_path / "t.csv", ("path", "label"), *rows)
    words = (labels, "dataset.val_fraction=0.25", "dataset.groups=folder")
    pool = pool_table(config(tmp_path, *words), tmp_path)
    assert pool.groups is not None and sorted(set(pool.groups)) == ["alone.png"] + [
        f"p{p}" for p in range(8)
    ]
    assert np.bincount(pool.open_split("val").labels).tolist() == [4, 4]


def test_a_table_may_lie_in_an_object_store(tmp_path: Path, s3) -> None:
    _, client = s3
    make_images(tmp_path, *(f"{number}.png" for number in range(8)))
    rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(8))
    client.put_object(Bucket="bucket", Key="labels.csv", Body=f"path,label\n{rows}".encode())
    words = ("dataset.labels=s3://bucket/labels.csv", "dataset.val_fraction=0.25")
    assert len(pool_table(config(tmp_path, *words), tmp_path).open_split("val")) == 2
