"""What a dry run changes of the settings: a few steps, on a few images, and nothing outside its own
folder. The graphs stay those of the whole run.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import build_config
from beit_exp.config.schema import Config
from beit_exp.config.traits import dataset_traits
from beit_exp.dry_run.tokenizer import lacks_teacher, lacks_tokenizer
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import world_size
from beit_exp.launch.tokenizer_first import merge
from beit_exp.storage.remote import is_remote

STEPS = 2  # the first compiles, the second shows that nothing compiles again
BENCHMARK_STEPS = 4  # the fewest that `task=benchmark` takes
NAME_FILES = (
    *("checkpoint", "images", "model.pretrained", "tokenizer.weights", "tokenizer.teacher"),
    "dataset.data_url",
)
NO_SPLIT: dict[str, Any] = {  # the images of a dry run are made as train/ and val/
    "val_labels": None,
    "labels": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "folds": None,
    "fold": 0,
    "groups": None,
    "images_per_class": None,
}
NO_END: dict[str, Any] = {"patience": None, "prune_after": None}
DATA, STORE, TOKENIZER = "data", "mlflow.db", "tokenizer.safetensors"
TEACHER = "teacher.safetensors"
LABELS = "labels.csv"


def check_device(cfg: Config) -> None:
    """Refuse what a dry run on Ascend cannot be."""
    if cfg.hardware.device_target != "ascend":
        raise UserError(
            f"hardware.device_target = {cfg.hardware.device_target!r}: must be ascend for a dry "
            "run on it (hardware=ascend, hardware=ascend_8p)"
        )
    if cfg.task == "export":
        raise UserError(
            "task = 'export': a dry run cannot do it: MindSpore's simulation refuses graphs with "
            "an open batch size"
        )


def absolute_paths(cfg: Config) -> Config:
    """The same with files named from the root: a dry run works in a folder of its own."""
    values = cfg.model_dump()
    for key in NAME_FILES:
        *sections, leaf = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        if section[leaf] is not None and not is_remote(section[leaf]):
            section[leaf] = os.path.abspath(section[leaf])
    return build_config(values)


def few_classes(cfg: Config) -> Config:
    """A pre-training's images in as many classes as there are ranks: it asks for no class, and
    ImageNet-22k has 21,841. Given images stay in their own, and a set that brings its classes has
    few.
    """
    is_given = Path(cfg.dataset.data_url).exists() or dataset_traits(cfg.dataset.name).brings_all
    if cfg.task != "pretrain" or is_given:
        return cfg
    changes = {"dataset": {"num_classes": max(2, world_size(cfg.hardware))}}
    return build_config(merge(cfg.model_dump(), changes))


def images_needed(cfg: Config) -> tuple[int, int]:
    """Images in `train` and in `val` that fill a step and a batch of every rank."""
    batches = cfg.train.batch_size * world_size(cfg.hardware)
    return batches * cfg.train.accumulate_steps, batches


def per_class(images: int, cfg: Config) -> int:
    """Images of each class that make at least so many, and the same number for every rank."""
    classes, ranks = cfg.dataset.num_classes, world_size(cfg.hardware)
    alike = ranks // math.gcd(classes, ranks)
    return alike * math.ceil(images / (classes * alike))


def few_steps(cfg: Config, folder: Path) -> Config:
    """The settings of a dry run whose files, images and all, lie in that folder."""
    steps = BENCHMARK_STEPS if cfg.task == "benchmark" else STEPS
    needed = images_needed(cfg)[0]
    steps_per_epoch = per_class(needed, cfg) * cfg.dataset.num_classes // needed
    epochs = math.ceil(steps / steps_per_epoch)
    often = {"eval_every_epochs": epochs, "save_every_epochs": epochs, "log_every_steps": 1}
    changes: dict[str, Any] = {
        "allow_changes": [],
        "dataset": {"data_url": str(folder / DATA), **NO_SPLIT, **_labels(cfg, folder)},
        "scheduler": {"warmup_length": 0, "warmup_steps": None, "cooldown_epochs": 0},
        "train": {"epochs": epochs, **often, **NO_END, "checkpoint_url": None},
        "tracking": {"uri": f"sqlite:///{folder / STORE}", "log_model": None},
        "evaluation": {"sets": {}, "real_labels": None},
        "benchmark": {"warm_up": 0, "repeats": 1, "data_batches": 1},
    }
    if cfg.probe.every_epochs is not None:
        changes["probe"] = {"every_epochs": epochs}
    if lacks_tokenizer(cfg):
        changes["tokenizer"] = {"weights": str(folder / TOKENIZER)}
    if lacks_teacher(cfg):
        changes["tokenizer"] = {"teacher": str(folder / TEACHER)}
    return build_config(merge(cfg.model_dump(), changes))


def _labels(cfg: Config, folder: Path) -> dict[str, Any]:
    """Several labels an image stand in a table alone."""
    return {"labels": str(folder / LABELS)} if cfg.dataset.multi_label else {}
