from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sharded
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data import archives
from beit_exp.data.description import describe
from beit_exp.data.listing import list_classes, list_images
from beit_exp.data.places import places_read
from beit_exp.data.sources import open_split, open_splits, training_images
from beit_exp.errors import UserError


def config_for(folder: Path, *overrides: str) -> Config:
    return make_config(f"dataset.data_url={folder}", *overrides)


def test_a_wrong_number_of_classes_is_named(few_digits: Path) -> None:
    cfg = config_for(few_digits, "dataset.name=image_folder", "dataset.num_classes=9")
    with pytest.raises(
        UserError, match="num_classes = 9: .*train holds 10 class folders. .*=auto counts them"
    ):
        open_split(cfg, "train")


def test_a_missing_folder_says_how_to_try_the_quickstart(tmp_path: Path) -> None:
    cfg = config_for(tmp_path, "dataset.name=image_folder")
    with pytest.raises(UserError, match=r"train is missing.*run the quickstart: python .*launch"):
        open_split(cfg, "train")


def test_as_many_images_of_each_class_as_asked_for(few_digits) -> None:
    few = training_images(
        make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=3")
    )
    assert np.bincount(few.labels).tolist() == [3] * 10
    assert [path.split("/")[-2] for path in few.paths] == [str(label) for label in few.labels]
    other = training_images(
        make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=3", "seed=1")
    )
    assert few.paths != other.paths
    with pytest.raises(
        UserError, match="images_per_class = 9: the class 0 holds 8 images alone: ask for fewer"
    ):
        training_images(make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=9"))


def own_images(folder: Path, *overrides: str) -> Config:
    return config_for(folder, "dataset=image_folder", "dataset.num_classes=10", *overrides)


def test_a_part_of_train_is_held_out(few_digits: Path) -> None:
    words = ("dataset.val_fraction=0.25", "dataset.test_fraction=0.125")
    found = open_splits(own_images(few_digits / "train", *words))
    sizes = {split: np.bincount(images.labels).tolist() for split, images in found.lists().items()}
    assert sizes == {"train": [5] * 10, "val": [2] * 10, "test": [1] * 10}
    paths = [path for images in found.lists().values() for path in images.paths]
    assert sorted(paths) == list_images(few_digits / "train")
    assert found.val.paths == open_split(own_images(few_digits / "train", *words), "val").paths
    other = open_split(own_images(few_digits / "train", *words, "seed=1"), "val")
    assert other.paths != found.val.paths


def test_a_test_set_is_made_beside_the_val_that_is_there(few_digits: Path) -> None:
    found = open_splits(own_images(few_digits, "dataset.test_fraction=0.25"))
    assert found.val.paths == list_images(few_digits / "val")
    assert found.test is not None and len(found.test) == 20 and len(found.train) == 60


def test_a_test_that_the_data_set_brings_is_its_test_set(few_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(few_digits / "train")
    (tmp_path / "test").symlink_to(few_digits / "val")
    found = open_splits(own_images(tmp_path, "dataset.val_fraction=0.25"))
    assert found.test is not None and len(found.test) == 50 and len(found.val) == 20
    assert open_splits(own_images(few_digits)).test is None


def test_a_table_of_a_flat_folder_is_split(few_digits: Path, tmp_path: Path) -> None:
    rows = [f"{path},{Path(path).parent.name}\n" for path in list_images(few_digits / "train")]
    (tmp_path / "labels.csv").write_text("".join(["path,label\n", *rows]))
    words = (f"dataset.labels={tmp_path / 'labels.csv'}", "dataset.val_fraction=0.25")
    cfg = own_images(tmp_path, *words, "dataset.images_per_class=2")
    assert np.bincount(training_images(cfg).labels).tolist() == [2] * 10
    assert open_splits(cfg).test is None and len(open_split(cfg, "val")) == 20


@pytest.mark.parametrize("place", ["", "train/", "train-"])
@pytest.mark.parametrize(
    "words", [("dataset.val_fraction=0.25", "dataset.test_fraction=0.125"), ("dataset.folds=4",)]
)
def test_a_split_is_that_of_the_folder_however_it_is_packed(
    words: tuple[str, ...], place: str, few_digits: Path, tmp_path: Path
) -> None:
    sharded.pack(few_digits / "train", f"{tmp_path}/{place}{{}}.tar", shards=3)
    packed = open_splits(sharded.config(tmp_path, *words)).lists()
    plain = open_splits(sharded.config(few_digits / "train", *words)).lists()
    assert {split: sharded.contents(images) for split, images in packed.items()} == {
        split: sharded.contents(images) for split, images in plain.items()
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
        members: list[sharded.Member] = []
        for number in range(12):
            cls, patient = ("ill", "well")[number % 2], f"p{number % 6}"
            key = (
                f"{patient}/{shard}_{number}" if has_labels else f"{cls}/{patient}/{shard}_{number}"
            )
            members += [(f"{key}.png", b"")]
            members += [(f"{key}.cls", cls.encode())] if has_labels else []
        sharded.write_tar(tmp_path / f"{shard}.tar", members)
    words = ("dataset.val_fraction=0.3", "dataset.groups=folder")
    pool = open_splits(sharded.config(tmp_path, *words, classes=2)).pool
    assert pool is not None and pool.groups is not None
    assert {Path(group).name for group in pool.groups} == {f"p{number}" for number in range(6)}
    sides = set(zip(pool.groups, pool.splits.tolist(), strict=True))
    assert len(sides) == 6 and {side for _, side in sides} == {"train", "val"}
    for path, group in zip(pool.images.paths, pool.groups, strict=True):
        assert f"/{Path(group).name}/" in path


def test_a_table_may_name_images_in_shards(few_digits: Path, tmp_path: Path) -> None:
    sharded.pack(few_digits / "train", f"{tmp_path}/train/{{}}.tar", shards=2)
    names = [path.removeprefix(f"{tmp_path}/") for path in list_images(tmp_path / "train")]
    rows = [f"{name},{name.split('/')[2]}\n" for name in names]
    (tmp_path / "labels.csv").write_text("".join(["path,label\n", *rows]))
    words = (f"dataset.labels={tmp_path / 'labels.csv'}", "dataset.val_fraction=0.25")
    found = open_splits(sharded.config(tmp_path, *words))
    assert len(found.val) == 20 and len(found.train) == 60


def test_flat_shards_take_their_labels_from_a_list(few_digits: Path, tmp_path: Path) -> None:
    paths = sorted((few_digits / "val").glob("*/*.png"))
    for number in range(2):
        members = [(path.name, path.read_bytes()) for path in paths[number::2]]
        sharded.write_tar(tmp_path / f"val-{number}.tar", members)
    lines = "".join(f"{path.name} {path.parent.name}\n" for path in paths)
    (tmp_path / "labels.txt").write_text(lines)
    (tmp_path / "train").symlink_to(few_digits / "train")
    found = open_split(
        sharded.config(tmp_path, f"dataset.val_labels={tmp_path / 'labels.txt'}"), "val"
    )
    assert sharded.contents(found) == sharded.contents(list_classes(few_digits / "val"))


def test_few_of_each_class_and_a_digest(few_digits: Path, tmp_path: Path) -> None:
    sharded.pack(
        few_digits / "train",
        f"{tmp_path}/train/{{}}.tar",
        shards=3,
        members=sharded.with_label_files,
    )
    (tmp_path / "val").symlink_to(few_digits / "val")
    few = training_images(sharded.config(tmp_path, "dataset.images_per_class=3"))
    assert np.bincount(few.labels).tolist() == [3] * 10
    facts = describe(list_classes(tmp_path / "train"), name="", source="", context="")
    moved = shutil.copytree(tmp_path / "train", tmp_path / "elsewhere")
    again = describe(list_classes(Path(moved)), name="", source="", context="")
    assert facts == again and facts["images"] == 80 and facts["classes"] == 10
    assert [place.name for place in places_read(sharded.config(tmp_path).dataset, tmp_path)] == [
        "train",
        "val",
    ]


def test_shards_in_an_object_store_are_read_from_their_copy(
    s3, few_digits: Path, tmp_path: Path
) -> None:
    _, client = s3
    for split in ("train", "val"):
        place = f"{tmp_path}/{split}-{{}}.tar"
        for path in sharded.pack(
            few_digits / split, place, shards=2, members=sharded.with_label_files
        ):
            client.upload_file(str(path), "bucket", f"digits/{path.name}")
    found = open_splits(sharded.config("s3://bucket/digits")).lists()
    assert sharded.contents(found["train"]) == sharded.contents(list_classes(few_digits / "train"))
    assert len(found["val"]) == 50
