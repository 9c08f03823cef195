"""What is split, grouped, labelled and described of folders is so of shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sharded import Member, config, contents, pack, with_label_files, write_tar

from beit_exp.data import archives
from beit_exp.data.description import describe
from beit_exp.data.listing import list_classes, list_images
from beit_exp.data.places import places_read
from beit_exp.data.sources import open_split, open_splits, training_images


@pytest.mark.parametrize("place", ["", "train/", "train-"])
@pytest.mark.parametrize(
    "words", [("dataset.val_fraction=0.25", "dataset.test_fraction=0.125"), ("dataset.folds=4",)]
)
def test_a_split_is_that_of_the_folder_however_it_is_packed(
    words: tuple[str, ...], place: str, few_digits: Path, tmp_path: Path
) -> None:
    pack(few_digits / "train", f"{tmp_path}/{place}{{}}.tar", shards=3)
    packed = open_splits(config(tmp_path, *words)).lists()
    plain = open_splits(config(few_digits / "train", *words)).lists()
    assert {split: contents(images) for split, images in packed.items()} == {
        split: contents(images) for split, images in plain.items()
    }
    assert packed["train"].paths == sorted(packed["train"].paths, key=list_images_order(tmp_path))


def list_images_order(folder: Path) -> Callable[[str], tuple[str, int]]:
    def place(path: str) -> tuple[str, int]:
        shard = str(archives.archive_of(path))
        return shard, archives.index(shard).place(archives.name_in(path))[0]

    return place


@pytest.mark.parametrize("has_labels", [False, True])
def test_groups_stay_together_across_shards(has_labels: bool, tmp_path: Path) -> None:
    for shard in range(3):
        members: list[Member] = []
        for number in range(12):
            cls, patient = ("ill", "well")[number % 2], f"p{number % 6}"
            key = (
                f"{patient}/{shard}_{number}" if has_labels else f"{cls}/{patient}/{shard}_{number}"
            )
            members += [(f"{key}.png", b"")]
            members += [(f"{key}.cls", cls.encode())] if has_labels else []
        write_tar(tmp_path / f"{shard}.tar", members)
    words = ("dataset.val_fraction=0.3", "dataset.groups=folder")
    pool = open_splits(config(tmp_path, *words, classes=2)).pool
    assert pool is not None and pool.groups is not None
    assert {Path(group).name for group in pool.groups} == {f"p{number}" for number in range(6)}
    sides = set(zip(pool.groups, pool.splits.tolist(), strict=True))
    assert len(sides) == 6 and {side for _, side in sides} == {"train", "val"}
    for path, group in zip(pool.images.paths, pool.groups, strict=True):
        assert f"/{Path(group).name}/" in path


def test_a_table_may_name_images_in_shards(few_digits: Path, tmp_path: Path) -> None:
    pack(few_digits / "train", f"{tmp_path}/train/{{}}.tar", shards=2)
    names = [path.removeprefix(f"{tmp_path}/") for path in list_images(tmp_path / "train")]
    rows = [f"{name},{name.split('/')[2]}\n" for name in names]
    (tmp_path / "labels.csv").write_text("".join(["path,label\n", *rows]))
    words = (f"dataset.labels={tmp_path / 'labels.csv'}", "dataset.val_fraction=0.25")
    found = open_splits(config(tmp_path, *words))
    assert len(found.val) == 20 and len(found.train) == 60


def test_flat_shards_take_their_labels_from_a_list(few_digits: Path, tmp_path: Path) -> None:
    paths = sorted((few_digits / "val").glob("*/*.png"))
    for number in range(2):
        members = [(path.name, path.read_bytes()) for path in paths[number::2]]
        write_tar(tmp_path / f"val-{number}.tar", members)
    lines = "".join(f"{path.name} {path.parent.name}\n" for path in paths)
    (tmp_path / "labels.txt").write_text(lines)
    (tmp_path / "train").symlink_to(few_digits / "train")
    found = open_split(config(tmp_path, f"dataset.val_labels={tmp_path / 'labels.txt'}"), "val")
    assert contents(found) == contents(list_classes(few_digits / "val"))


def test_few_of_each_class_and_a_digest(few_digits: Path, tmp_path: Path) -> None:
    pack(few_digits / "train", f"{tmp_path}/train/{{}}.tar", shards=3, members=with_label_files)
    (tmp_path / "val").symlink_to(few_digits / "val")
    few = training_images(config(tmp_path, "dataset.images_per_class=3"))
    assert np.bincount(few.labels).tolist() == [3] * 10
    facts = describe(list_classes(tmp_path / "train"), name="", source="", context="")
    moved = shutil.copytree(tmp_path / "train", tmp_path / "elsewhere")
    again = describe(list_classes(Path(moved)), name="", source="", context="")
    assert facts == again and facts["images"] == 80 and facts["classes"] == 10
    assert [place.name for place in places_read(config(tmp_path).dataset, tmp_path)] == [
        "train",
        "val",
    ]


def test_shards_in_an_object_store_are_read_from_their_copy(
    s3, few_digits: Path, tmp_path: Path
) -> None:
    _, client = s3
    for split in ("train", "val"):
        place = f"{tmp_path}/{split}-{{}}.tar"
        for path in pack(few_digits / split, place, shards=2, members=with_label_files):
            client.upload_file(str(path), "bucket", f"digits/{path.name}")
    found = open_splits(config("s3://bucket/digits")).lists()
    assert contents(found["train"]) == contents(list_classes(few_digits / "train"))
    assert len(found["val"]) == 50
