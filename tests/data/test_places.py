from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.places import brings_test, check_classes, check_folders, places_read
from beit_exp.errors import UserError


def config(folder: Path, *overrides: str) -> Config:
    words = ("dataset=image_folder", "dataset.num_classes=10", f"dataset.data_url={folder}")
    return make_config(*words, *overrides)


@pytest.fixture
def data(few_digits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(few_digits, tmp_path / "data"))


def test_two_places_for_one_set_are_refused(data: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.val_fraction = 0.2: .*/val is there, too. Say"):
        check_folders(config(data, "dataset.val_fraction=0.2").dataset)
    (data / "val").rename(data / "test")
    check_folders(config(data, "dataset.val_fraction=0.2").dataset)
    words = ("dataset.val_fraction=0.2", "dataset.test_fraction=0.1")
    with pytest.raises(UserError, match=r"dataset.test_fraction = 0.1: .*/test is there, too"):
        check_folders(config(data, *words).dataset)


def test_a_missing_val_is_told_with_the_share_that_makes_one(data: Path) -> None:
    shutil.rmtree(data / "val")
    with pytest.raises(UserError, match=r"val is missing.*say dataset.val_fraction=0.2"):
        check_folders(config(data).dataset)
    check_folders(config(data, "dataset.val_fraction=0.2").dataset)


def test_a_folder_of_class_folders_is_split_as_it_is(data: Path) -> None:
    with pytest.raises(UserError, match=r"train is missing.*are split by dataset.val_fraction=0.2"):
        check_folders(config(data / "train").dataset)
    check_folders(config(data / "train", "dataset.val_fraction=0.2").dataset)
    with pytest.raises(UserError, match=r"val is missing.*say dataset.val_fraction=0.2"):
        check_folders(config(data / "train", "dataset.test_fraction=0.2").dataset)


def test_a_folder_that_is_not_there_is_named_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder .*/none is missing"):
        check_folders(config(tmp_path / "none").dataset)


def test_a_test_without_class_folders_is_no_test_set(data: Path) -> None:
    (data / "test").mkdir()
    (data / "test" / "1.png").touch()
    assert not brings_test(config(data).dataset, data)
    (data / "test" / "cat").mkdir()
    assert brings_test(config(data).dataset, data)
    with pytest.raises(
        UserError, match=r"num_classes = 10: .*test holds 1 class folders. It must hold the same"
    ):
        check_classes(config(data).dataset, data)


def test_a_table_that_is_not_there_is_told_at_once(data: Path) -> None:
    with pytest.raises(UserError, match="dataset.labels = 'no.csv': there is no such file"):
        check_folders(config(data, "dataset.labels=no.csv").dataset)


def test_the_places_that_make_the_splits_are_told(data: Path) -> None:
    def places(folder: Path, *overrides: str) -> list[str]:
        found = places_read(config(folder, *overrides).dataset, folder)
        return [str(place.relative_to(data)) for place in found]

    assert places(data) == ["train", "val"]
    assert places(data, "dataset.test_fraction=0.1") == ["train", "val"]
    assert places(data / "train", "dataset.val_fraction=0.1") == ["train"]
    assert places(data, "dataset.labels=some.csv", "dataset.val_fraction=0.1") == []
    shutil.copytree(data / "val", data / "test")
    assert places(data) == ["train", "val", "test"]
