from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beit_exp.config.mapping import build_config
from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.places import check_folders
from beit_exp.data.sources import open_split
from beit_exp.dry_run.images import make_images, write_labels
from beit_exp.dry_run.settings import (
    STEPS,
    absolute_paths,
    check_device,
    few_classes,
    few_steps,
    images_needed,
    per_class,
)
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import world_size
from beit_exp.launch.overrides import typed_values


def config(*overrides: str) -> Config:
    return build_config(typed_values(["hardware=ascend", *overrides]))


RUNS = [
    (),
    ("hardware=ascend_8p",),
    ("train.accumulate_steps=3", "train.batch_size=10"),
    ("experiment=imagenet_base",),
    ("experiment=imagenet_large_512", "hardware=ascend_8p"),
    ("experiment=pretrain_base", "tokenizer.weights=tokenizer.pth"),
    ("scheduler=multistep", "scheduler.milestones=[3,9]"),
]


@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_the_images_make_few_steps_and_a_whole_batch_to_evaluate(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    cfg = few_classes(config(*overrides))
    ranks, counts = world_size(cfg.hardware), [per_class(n, cfg) for n in images_needed(cfg)]
    make_images(cfg.dataset, tmp_path / "data", counts=(counts[0], counts[1]), side=8)
    short = few_steps(cfg, tmp_path)
    check_folders(short.dataset)
    stream = TrainStream(open_split(short, "train"), short, Shard(0, ranks))
    steps = short.train.epochs * stream.steps_per_epoch
    assert STEPS <= steps <= max(STEPS, cfg.dataset.num_classes // cfg.train.batch_size + 1)
    val_images = open_split(short, "val")
    assert len(val_images) % ranks == 0  # each rank has as many
    assert len(val_images) // ranks >= cfg.train.batch_size


def test_images_that_are_made_for_a_pre_training_need_no_classes(tmp_path: Path) -> None:
    words = ("experiment=pretrain_base", "tokenizer.weights=t.pth", f"dataset.data_url={tmp_path}")
    assert few_classes(config(*words)).dataset.num_classes == 21841
    made = few_classes(config(*words[:2], "dataset.data_url=nowhere"))
    assert made.dataset.num_classes == 2
    assert few_classes(config("experiment=imagenet_base")).dataset.num_classes == 1000
    digits = config("experiment=pretrain_digits", "dataset.data_url=nowhere")
    assert few_classes(digits).dataset.num_classes == 10  # the settings allow no other


def test_the_network_and_what_computes_it_stay_the_same(tmp_path: Path) -> None:
    cfg = config("experiment=imagenet_base", "hardware=ascend_8p")
    short = few_steps(cfg, tmp_path)
    for section in ("model", "augment", "optimizer", "hardware", "mask", "tokenizer"):
        assert getattr(short, section) == getattr(cfg, section)
    assert short.train.batch_size == cfg.train.batch_size
    assert short.dataset.num_classes == cfg.dataset.num_classes


def test_nothing_outside_the_folder_is_written(tmp_path: Path) -> None:
    cfg = config("train.checkpoint_url=s3://bucket/place", "tracking.uri=http://store")
    short = few_steps(cfg, tmp_path)
    assert short.train.checkpoint_url is None
    assert short.tracking.uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert Path(short.dataset.data_url).is_relative_to(tmp_path)


def test_files_keep_their_place_in_another_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = absolute_paths(
        config("model.pretrained=../weights.pth", "dataset.data_url=s3://bucket/x")
    )
    assert cfg.model.pretrained == str(tmp_path.parent / "weights.pth")
    assert cfg.dataset.data_url == "s3://bucket/x" and cfg.checkpoint is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("hardware=cpu",), "hardware.device_target = 'cpu': must be ascend"),
        (("task=export", "checkpoint=RUN"), "task = 'export': a dry run cannot do it"),
    ],
)
def test_what_cannot_be_simulated_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_device(config(*overrides))


def test_given_images_are_taken_and_repeated_where_they_are_few(tmp_path: Path) -> None:
    given = tmp_path / "given"
    cfg = config("dataset=image_folder", "dataset.num_classes=2", f"dataset.data_url={given}")
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (given / place).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4)).save(given / place / f"{number}.png")
        (given / place / "notes.txt").touch()
    told = make_images(cfg.dataset, tmp_path / "few", counts=(5, 2), side=4)
    assert told == f"of {given}, 5 of each class to train on, 2 to evaluate"
    links = sorted((tmp_path / "few" / "train" / "b").iterdir())
    assert len(links) == 5 and {path.resolve().parent for path in links} == {given / "train" / "b"}
    assert len(list((tmp_path / "few" / "val" / "a").iterdir())) == 2


def test_a_wrong_override_is_refused_as_the_command_refuses_it() -> None:
    with pytest.raises(UserError, match="Did you mean model.depth"):
        config("model.depht=2")


def test_several_labels_an_image_are_given_by_a_table(tmp_path: Path) -> None:
    cfg = config(
        "dataset=image_folder",
        "dataset.num_classes=3",
        "dataset.data_url=nowhere",
        "dataset.labels=nowhere.csv",
        "dataset.multi_label=true",
        "objective=val/map",
    )
    make_images(cfg.dataset, tmp_path / "data", counts=(2, 1), side=4)
    write_labels(tmp_path / "data", tmp_path / "labels.csv")
    short = few_steps(cfg, tmp_path)
    assert open_split(short, "train").labels.tolist() == np.eye(3).repeat(2, axis=0).tolist()
    assert open_split(short, "val").labels.tolist() == np.eye(3).tolist()
