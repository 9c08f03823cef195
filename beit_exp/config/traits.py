"""What each task and each kind of data set is like: what rules and checks ask of them.

A new one is named by mypy here, and must say all of it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from typing_extensions import assert_never

from beit_exp.config.schema import DatasetName, Objective
from beit_exp.config.task_name import TaskName

Training = Literal["finetune", "pretrain", "train_tokenizer"]
OF_ALL = ("task", "seed", "hardware", "dataset")
OF_TRAINING = (*OF_ALL, "objective", "augment", "optimizer", "scheduler", "train")
OF_FINETUNING = (*OF_TRAINING, "model", "checkpoint_kind")
OF_PRETRAINING = ("val/loss", "val/masked_accuracy", "val/knn_top1")
OF_CLASSES = tuple(
    name for name in get_args(Objective) if name == "val/loss" or name not in OF_PRETRAINING
)
OF_LABELS = ("val/map", "val/macro_f1", "val/micro_f1", "val/loss")  # dataset.multi_label
OF_LABELS_ALONE = ("val/map", "val/micro_f1")
OF_MONITOR = (
    *("features.blocks", "features.pooling"),
    *("probe.every_epochs", "probe.every_neighbours", "probe.temperature"),
)
OF_TOKENIZER = ("tokenizer", "checkpoint_kind", "model.image_size", "model.patch_size")
OF_CHECKPOINT = (*OF_ALL, "checkpoint", "checkpoint_kind", "model")
OF_SOUP = (*OF_CHECKPOINT, "objective", "soup", "train.batch_size")
SILENT = (  # change neither the weights that a run arrives at nor its metrics
    "tracking.",
    "allow_changes",
    "hardware.num_parallel_workers",
    "hardware.cluster_timeout_s",
    "optimizer.lr_base_size",  # what is said of base_lr
)


class TaskTraits(NamedTuple):
    """What a task needs, reads and allows."""

    reads: tuple[str, ...]  # groups and settings that a result may depend on: see `is_read`
    objectives: tuple[str, ...] = ()  # what it measures, if a sweep may compare it
    needs_checkpoint: bool = False  # else it must have none
    uses_labels: bool = True
    reads_pretrained: bool = False  # model.pretrained
    reads_class_folders: bool = False  # dataset.data_url, before anything heavy starts
    allows_devices: bool = False  # hardware.device_num above 1
    allows_images: bool = False  # `images`
    allows_flip: bool = False  # evaluation.flip

    def is_read(self, key: str) -> bool:
        """Whether a setting, by its full key, is one that the task reads."""
        return key in self.reads or key.partition(".")[0] in self.reads


def task_traits(name: TaskName) -> TaskTraits:
    """What a task is like."""
    match name:
        case "finetune" | "pretrain" | "train_tokenizer":
            return training_traits(name)
        case "evaluate":
            return TaskTraits(
                reads=(*OF_CHECKPOINT, "evaluation", "train.batch_size"),
                needs_checkpoint=True,
                reads_class_folders=True,
                allows_devices=True,
                allows_flip=True,
            )
        case "predict":
            return TaskTraits(
                reads=(*OF_CHECKPOINT, "images", "evaluation", "train.batch_size"),
                needs_checkpoint=True,
                allows_images=True,
                allows_flip=True,
            )
        case "explain":
            return TaskTraits(
                reads=(*OF_CHECKPOINT, "images"), needs_checkpoint=True, allows_images=True
            )
        case "features":
            return TaskTraits(
                reads=(*OF_CHECKPOINT, "images", "features", "train.batch_size"),
                needs_checkpoint=True,
                reads_class_folders=True,
                allows_devices=True,
                allows_images=True,
            )
        case "probe":
            return TaskTraits(
                reads=(*OF_CHECKPOINT, "features", "probe", "train.batch_size"),
                needs_checkpoint=True,
                reads_class_folders=True,
                allows_devices=True,
            )
        case "export":
            return TaskTraits(reads=(*OF_CHECKPOINT, "export"), needs_checkpoint=True)
        case "soup":
            return TaskTraits(OF_SOUP, OF_CLASSES, needs_checkpoint=True, reads_class_folders=True)
        case "check_data":
            return TaskTraits(reads=OF_ALL, reads_class_folders=True)
        case "benchmark":
            return TaskTraits(
                reads=(*OF_FINETUNING, "benchmark"),
                reads_pretrained=True,
                allows_devices=True,
            )
        case _:
            assert_never(name)


def training_traits(name: Training) -> TaskTraits:
    """What a task is like that trains a network."""
    match name:
        case "finetune":
            return TaskTraits(
                reads=OF_FINETUNING,
                objectives=OF_CLASSES,
                reads_pretrained=True,
                reads_class_folders=True,
                allows_devices=True,
            )
        case "pretrain":
            return TaskTraits(
                reads=(*OF_FINETUNING, "mask", "tokenizer", *OF_MONITOR),
                objectives=OF_PRETRAINING,
                uses_labels=False,
                reads_class_folders=True,
                allows_devices=True,
            )
        case "train_tokenizer":
            return TaskTraits(
                reads=(*OF_TRAINING, *OF_TOKENIZER),
                objectives=("val/loss",),
                uses_labels=False,
                reads_class_folders=True,
                allows_devices=True,
            )
        case _:
            assert_never(name)


class DatasetTraits(NamedTuple):
    """What is known of a kind of data set before its files are seen."""

    num_classes: int | None = None  # None: the settings say it
    brings_all: bool = False  # classes and splits, so the settings can add none


def dataset_traits(name: DatasetName) -> DatasetTraits:
    """What a kind of data set is like."""
    match name:
        case "digits":
            return DatasetTraits(num_classes=10, brings_all=True)
        case "imagenet" | "image_folder":
            return DatasetTraits()
        case _:
            assert_never(name)
