from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.listing import list_images
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
