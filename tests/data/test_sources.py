from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.sources import open_split, training_images
from beit_exp.errors import UserError


def config_for(folder: Path, *overrides: str) -> Config:
    return make_config(f"dataset.data_url={folder}", *overrides)


def test_a_wrong_number_of_classes_is_named(few_digits: Path) -> None:
    cfg = config_for(few_digits, "dataset.name=image_folder", "dataset.num_classes=9")
    with pytest.raises(UserError, match="dataset.num_classes = 9: .*train holds 10 class folders"):
        open_split(cfg.dataset, "train")


def test_a_missing_folder_says_how_to_try_the_quickstart(tmp_path: Path) -> None:
    cfg = config_for(tmp_path, "dataset.name=image_folder")
    with pytest.raises(UserError, match=r"train is missing.*run the quickstart: python .*launch"):
        open_split(cfg.dataset, "train")


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
    with pytest.raises(UserError, match="dataset.images_per_class = 9: the class 0 holds 8 images"):
        training_images(make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=9"))
