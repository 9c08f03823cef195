"""The command's answers before any work: quick, complete, without a traceback."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from conftest import GOLDEN, ROOT, Command

REFUSED = {
    "unknown key": (("optimizer.lrr=1",), "optimizer.lrr: there is no such setting. Did you mean optimizer"),
    "unknown top-level key": (("modle=x",), "modle: there is no such setting. Did you mean model?"),
    "unknown option": (
        ("optimizer=adamx",),
        "optimizer = 'adamx': must be one of adam_weight_decay, adamw, momentum. Did",
    ),
    "unknown experiment": (("experiment=imagenet_bse",), "must be one of imagenet_base. Did you mean imagenet_base?"),
    "wrong type": (("seed=abc",), "seed = 'abc': must be a whole number >= 0"),
    "fraction for a count": (("train.epochs=1.5",), "train.epochs = 1.5: must be a whole number > 0"),
    "not a number": (("optimizer.base_lr=nan",), "optimizer.base_lr = nan: must be a number > 0"),
    "out of range": (("optimizer.layer_decay=1.2",), "optimizer.layer_decay = 1.2: must be a number > 0 and <= 1"),
    "unknown choice": (("model.pooling=max",), "model.pooling = 'max': must be one of mean, cls"),
    "unknown task": (("task=finetun",), "must be one of finetune, evaluate, predict, export. Did you mean finetune?"),
    "text for a list": (("dataset.mean=0.5",), "dataset.mean = 0.5: must be a list of 3, each a number"),
    "null where a value is needed": (("model.depth=null",), "model.depth = None: must be a whole number > 0"),
    "impossible pair": (("model.image_size=30",), "model.image_size = 30: must be a multiple of model.patch_size"),
    "warm-up too long": (("scheduler.warmup_length=99",), "scheduler.warmup_length = 99: plus"),
    "scale without half precision": (("hardware.loss_scale=1024",), "hardware.loss_scale = 1024: must be 1 at"),
    "odd batch with mixup": (("augment.mix_up=1", "train.batch_size=7"), "train.batch_size = 7: must be even"),
    "policy": (("augment.auto_augment=rand-m99",), "augment.auto_augment = 'rand-m99': m is out of range"),
    "value to be given": (("dataset=image_folder", "dataset.num_classes=2"), "dataset.data_url is not set"),
    "missing folder": (("experiment=imagenet_base",), "the folder ../data/imagenet/train is missing"),
    "missing checkpoint": (("task=evaluate", "checkpoint=nowhere"), "checkpoint = 'nowhere': there is no such file"),
    "missing weights": (("model.pretrained=no.pth",), "model.pretrained = 'no.pth': there is no such file"),
    "missing images": (
        ("task=predict", f"checkpoint={GOLDEN}", "images=none"),
        "images = 'none': there is no such folder",
    ),
    "checkpoint while training": (("checkpoint=x",), "and be null for task=finetune"),
    "malformed override": (("optimizer.beta=[0.9",), "optimizer.beta=[0.9 is no override: no viable"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_command_gets_one_clear_message(case: str, launch: Command) -> None:
    arguments, message = REFUSED[case]
    started = time.monotonic()
    done = launch(*arguments)
    assert time.monotonic() - started < 15
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2
    assert [path.name for path in launch.folder.rglob("*") if path.is_file()] == []
    assert list((launch.folder / "runs").glob("*")) == []


def test_unknown_keys_and_wrong_values_are_reported_together(launch: Command) -> None:
    done = launch("optimizer.lrr=1", "model=beit", "train.epochs=0", "seed=-3")
    assert done.stderr.startswith("4 settings are wrong:")


def test_a_file_of_another_network_ends_in_one_message(launch: Command, few_digits: Path) -> None:
    file = GOLDEN / "model" / "rel_pos" / "official.pth"
    done = launch("task=evaluate", f"checkpoint={file}", f"dataset.data_url={few_digits}")
    assert "does not fit the network" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2
    assert [run.info.status for run in launch.runs()] == ["FAILED"]


def test_an_empty_class_folder_ends_in_one_message(launch: Command, few_digits: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (launch.folder / "pets" / split / name).mkdir(parents=True)
    done = launch("dataset=image_folder", "dataset.data_url=pets", "dataset.num_classes=2")
    assert "the class folder pets/train/cat holds no image" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2
    assert [run.info.status for run in launch.runs()] == ["FAILED"]


def test_missing_imagenet_says_how_to_try_the_quickstart(launch: Command) -> None:
    done = launch("experiment=imagenet_base")
    assert "To try the project without it, run the quickstart: python launch.py" in done.stderr


def test_help_and_composition_need_neither_device_nor_store(launch: Command) -> None:
    help_text, job = launch("--help"), launch("experiment=imagenet_base", "--cfg", "job")
    assert "optimizer: adam_weight_decay, adamw, momentum" in help_text.stdout
    assert "base_lr: 2.0e-05" in job.stdout
    assert list(launch.folder.iterdir()) == []


def test_launching_from_another_folder_finds_the_configuration(launch: Command) -> None:
    assert launch.folder != ROOT and os.path.isabs(launch.folder)
    assert launch("--cfg", "job").returncode == 0
