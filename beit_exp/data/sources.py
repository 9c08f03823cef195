"""Which images a run has: what `dataset` says, as a list for each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.command_line import launch_command
from beit_exp.config.schema import Config, DatasetConfig
from beit_exp.data.archives import ENDING
from beit_exp.data.digits import write_digits
from beit_exp.data.label_list import list_labelled
from beit_exp.data.listing import ImageList, class_folders, list_classes
from beit_exp.errors import UserError
from beit_exp.randomness import Stream, generator
from beit_exp.storage.remote import is_remote, local_copy


def check_folders(cfg: DatasetConfig) -> None:
    """Raise `UserError` for a data folder that cannot be right, without listing it all."""
    if is_remote(cfg.data_url):
        return
    match cfg.name:
        case "digits":
            pass  # the run writes them
        case "imagenet" | "image_folder":
            root = Path(cfg.data_url)
            # A tar is read by the run itself
            if not any(place_of(cfg, root, split).is_file() for split in _needed(cfg)):
                _check_classes(cfg, root)
        case _:
            assert_never(cfg.name)


def open_split(cfg: DatasetConfig, split: str) -> ImageList:
    """The images of `train` or `val`; `UserError` if they cannot be right.

    Digits are written first, and remote data copied, if they are not there.
    """
    root = Path(local_copy(cfg.data_url))
    match cfg.name:
        case "digits":
            write_digits(root)
        case "imagenet" | "image_folder":
            _check_classes(cfg, root)
        case _:
            assert_never(cfg.name)
    place = place_of(cfg, root, split)
    if split == "val" and cfg.val_labels is not None:
        return list_labelled(
            place, Path(local_copy(cfg.val_labels)), cfg.num_classes, class_names(cfg, root)
        )
    return list_classes(place)


def place_of(cfg: DatasetConfig, root: Path, split: str) -> Path:
    """The folder of a split, or its tar; `UserError` unless there is one of the two."""
    folder, archive = root / split, root / f"{split}{ENDING}"
    if folder.is_dir() and archive.is_file():
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: "
            f"both {folder} and {archive} are there; remove one"
        )
    if not folder.is_dir() and not archive.is_file():
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: the folder {folder} is missing. "
            "It must hold train/<class>/* and val/<class>/* with one folder per class, "
            "or the same as tars. To try the project without it, run the quickstart: "
            f"{launch_command()}"
        )
    return folder if folder.is_dir() else archive


def training_images(cfg: Config) -> ImageList:
    """The images to train on: all of `train`, or `dataset.images_per_class` of each class.

    Those are drawn by the seed; `UserError` if a class holds fewer.
    """
    images, count = open_split(cfg.dataset, "train"), cfg.dataset.images_per_class
    if count is None:
        return images
    chosen: list[int] = []
    for label, name in enumerate(images.classes):
        numbers = np.flatnonzero(images.labels == label)
        if len(numbers) < count:
            raise UserError(
                f"dataset.images_per_class = {count}: the class {name} holds {len(numbers)} images"
            )
        rng = generator(cfg.seed, Stream.subset, label)
        chosen += sorted(rng.choice(numbers, count, replace=False).tolist())
    return ImageList(
        [images.paths[number] for number in chosen], images.labels[chosen], images.classes
    )


def _needed(cfg: DatasetConfig) -> tuple[str, ...]:
    return ("train", "val") if cfg.val_labels is None else ("val",)


def _check_classes(cfg: DatasetConfig, root: Path) -> None:
    places = {split: place_of(cfg, root, split) for split in _needed(cfg)}
    if cfg.val_labels is not None:
        return
    names = {split: class_folders(place) for split, place in places.items()}
    for split, found in names.items():
        if len(found) != cfg.num_classes:
            raise UserError(
                f"dataset.num_classes = {cfg.num_classes}: "
                f"{places[split]} holds {len(found)} class folders"
            )
    if unlike := set(names["train"]) ^ set(names["val"]):
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: train/ and val/ must hold the same classes; "
            f"only one of them has {', '.join(sorted(unlike)[:5])}"
        )


def class_names(cfg: DatasetConfig, root: Path) -> list[str]:
    """The class folders of `train`; none where there is no such split."""
    is_there = (root / "train").is_dir() or (root / f"train{ENDING}").is_file()
    return class_folders(place_of(cfg, root, "train")) if is_there else []
