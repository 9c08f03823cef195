from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from settings import GOLDEN

from beit_exp.config.mapping import build_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.launch.overrides import typed_values

RUN = GOLDEN / "model"


@pytest.fixture
def images(few_digits: Path, tmp_path: Path) -> Path:
    """Class folders in `train`, and no `val`."""
    return Path(shutil.copytree(few_digits / "train", tmp_path / "images" / "train")).parent


def found(*words: str) -> Config:
    return build_config(typed_values(list(words)))


def own(place: Path, *words: str) -> Config:
    return found("experiment=own_images", f"dataset.data_url={place}", *words)


def shares(cfg: Config) -> tuple[int, float, float]:
    return cfg.dataset.num_classes, cfg.dataset.val_fraction, cfg.dataset.test_fraction


@pytest.mark.slow
def test_classes_are_counted_and_val_and_test_held_out_where_there_is_none(images: Path) -> None:
    assert shares(own(images)) == shares(own(images / "train")) == (10, 0.2, 0.1)
    assert shares(own(images, "dataset.val_fraction=0.3")) == (10, 0.3, 0.1)
    shutil.copytree(images / "train", images / "test")
    assert shares(own(images)) == (10, 0.2, 0.0)
    shutil.copytree(images / "train", images / "val")
    shutil.rmtree(images / "test")
    assert shares(own(images)) == (10, 0.0, 0.0)
    assert shares(found("dataset=image_folder", f"dataset.data_url={images}")) == (10, 0.0, 0.0)


@pytest.mark.parametrize("with_splits", [True, False])
def test_the_labels_of_a_table_are_counted(images: Path, with_splits: bool) -> None:
    paths = sorted((images / "train").rglob("*.png"))
    rows = [
        [str(path), str(number % 3), "val" if number % 4 == 3 else "train"]
        for number, path in enumerate(paths)
    ]
    table = images / "labels.csv"
    with table.open("w", newline="") as file:
        width = 3 if with_splits else 2
        csv.writer(file).writerows(row[:width] for row in [["path", "label", "split"], *rows])
    expected = (3, 0.0, 0.0) if with_splits else (3, 0.2, 0.1)
    assert shares(own(images, f"dataset.labels={table}")) == expected


def test_the_network_and_the_rates_are_those_of_the_weights(images: Path) -> None:
    scratch = own(images)
    assert (scratch.model.arch, scratch.optimizer.base_lr) == ("beit_micro_patch8_64", 5e-4)
    file = RUN / "rel_pos" / "official.pth"
    cfg = own(images, f"model.pretrained={file}", "model.image_size=48")
    assert (cfg.model.embed_dim, cfg.model.image_size, cfg.model.num_heads) == (48, 48, 3)
    assert (cfg.optimizer.base_lr, cfg.optimizer.layer_decay) == (5e-5, 0.75)
    assert own(images, "optimizer.base_lr=0.1").optimizer.base_lr == 0.1


def test_a_head_tells_the_classes_where_no_folder_does() -> None:
    words = ("task=predict", f"checkpoint={RUN / 'rel_pos' / 'official.pth'}", "model=auto")
    cfg = found(*words, "dataset=image_folder", "dataset.data_url=none", "images=none")
    assert (cfg.dataset.num_classes, cfg.model.embed_dim) == (10, 48)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model.pretrained=no.pth",), "no.pth is missing"),
        (
            (f"model.pretrained={RUN / 'abs_pos' / 'official.pth'}",),
            "does not tell model.num_heads",
        ),
        (("dataset.data_url=none",), "the folder none is missing"),
        (("dataset.data_url=s3://bucket/images",), "say them for s3://bucket/images"),
        (("dataset.labels=no.csv",), "dataset.labels = 'no.csv': there is no such file"),
        (("task=x",), "task = 'x': must be one of"),
        (("dataset.num_classes=3x",), "1 setting is wrong:\n  dataset.num_classes = '3x': must be"),
        (("dataset.crop_pct=x",), "dataset.crop_pct = 'x': must be a number"),
    ],
)
def test_what_cannot_be_found_is_refused(words: tuple[str, ...], said: str, images: Path) -> None:
    with pytest.raises(UserError) as raised:
        own(images, *words)
    assert said in str(raised.value)


def test_the_wrong_folder_is_told_as_such(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 1 class folders \(images\); there must be one for"):
        own(tmp_path)
    with pytest.raises(UserError, match="1 setting is wrong:\n  dataset.data_url is not set"):
        found("experiment=own_images")


def test_classes_of_a_flat_val_alone_must_be_said(images: Path) -> None:
    (images / "train").rename(images / "val")
    words = ("dataset=image_folder", f"dataset.data_url={images}", "dataset.val_labels=x")
    with pytest.raises(UserError, match="holds no train/ whose class folders could be counted"):
        found(*words)


def test_other_settings_stay_as_they_are(images: Path) -> None:
    values: dict[str, Any] = typed_values(["optimizer.base_lr=0.5"])
    assert values["dataset"]["num_classes"] == 10 and values["optimizer"]["base_lr"] == 0.5


@pytest.mark.slow
def test_the_objective_of_ones_own_images_counts_each_class_once(images: Path) -> None:
    table = images / "labels.csv"
    paths = sorted((images / "train").rglob("*.png"))
    rows = [f"{path},{('a|b', 'b', '')[number % 3]}" for number, path in enumerate(paths)]
    table.write_text("\n".join(["path,label", *rows]))
    assert own(images).objective == "val/balanced_accuracy"
    cfg = own(images, f"dataset.labels={table}", "dataset.multi_label=true")
    assert (cfg.objective, cfg.dataset.num_classes) == ("val/map", 2)
    assert own(images, "objective=val/top1").objective == "val/top1"
