"""Which images a run has: what `dataset` says, as a list for each split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import Config
from beit_exp.data.digits import write_digits
from beit_exp.data.label_list import list_labelled
from beit_exp.data.listing import ImageList, list_classes
from beit_exp.data.places import brings_test, check_classes, class_names, place_of, pool_place
from beit_exp.data.pool import Pool, is_pooled, pool_classes, pool_table
from beit_exp.errors import UserError
from beit_exp.randomness import Stream, generator
from beit_exp.storage.remote import local_copy


@dataclass(frozen=True)
class Splits:
    """The images of all splits."""

    train: ImageList
    val: ImageList
    test: ImageList | None  # None: there is no test set
    pool: Pool | None  # what was split; None: the data set brings its splits

    def lists(self) -> dict[str, ImageList]:
        """Every split that there is, by its name."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {split: images for split, images in found.items() if images is not None}


def open_splits(cfg: Config) -> Splits:
    """The images of every split; `UserError` if they cannot be right.

    Digits are written first, and remote data copied, if they are not there.
    """
    root, pool = _open_data(cfg)
    return Splits(
        _images(cfg, root, pool, "train"),
        _images(cfg, root, pool, "val"),
        _images(cfg, root, pool, "test") if _has_test(cfg, root, pool) else None,
        pool,
    )


def open_split(cfg: Config, split: str) -> ImageList:
    """The images of one split alone, as `open_splits` finds them; `UserError` if it has no test."""
    root, pool = _open_data(cfg)
    if split == "test" and not _has_test(cfg, root, pool):
        raise UserError(
            f"evaluation.split = 'test': {cfg.dataset.data_url} has no test set. Class folders in "
            "test/ are one; dataset.test_fraction and a table's column `split` make one, for "
            "trainings that begin with them"
        )
    return _images(cfg, root, pool, split)


def training_images(cfg: Config) -> ImageList:
    """The images to train on: see `few_of_each`."""
    return few_of_each(open_split(cfg, "train"), cfg)


def few_of_each(images: ImageList, cfg: Config) -> ImageList:
    """All of some images, or `dataset.images_per_class` of each class.

    Those are drawn by the seed; `UserError` if a class holds fewer.
    """
    count = cfg.dataset.images_per_class
    if count is None:
        return images
    chosen: list[int] = []
    for label, name in enumerate(images.classes):
        numbers = np.flatnonzero(images.labels == label)
        if len(numbers) < count:
            raise UserError(
                f"dataset.images_per_class = {count}: the class {name} holds {len(numbers)} images "
                "alone: ask for fewer, or give it more"
            )
        rng = generator(cfg.seed, Stream.subset, label)
        chosen += sorted(rng.choice(numbers, count, replace=False).tolist())
    return images.take(np.array(chosen))


def _open_data(cfg: Config) -> tuple[Path, Pool | None]:
    """The folder of the data set, and what is to be split."""
    root = Path(local_copy(cfg.dataset.data_url))
    if cfg.dataset.labels is not None:
        return root, pool_table(cfg, root)
    match cfg.dataset.name:
        case "digits":
            write_digits(root)
        case "imagenet" | "image_folder":
            check_classes(cfg.dataset, root)
        case _:
            assert_never(cfg.dataset.name)
    is_split = is_pooled(cfg.dataset)
    return root, pool_classes(cfg, root, pool_place(cfg.dataset, root)) if is_split else None


def _has_test(cfg: Config, root: Path, pool: Pool | None) -> bool:
    if pool is not None and "test" in pool.splits:
        return True
    return cfg.dataset.labels is None and brings_test(cfg.dataset, root)


def _images(cfg: Config, root: Path, pool: Pool | None, split: str) -> ImageList:
    if pool is not None and split in pool.splits:
        return pool.open_split(split)
    place, labels = place_of(cfg.dataset, root, split), cfg.dataset.val_labels
    if split == "val" and labels is not None:
        classes = class_names(cfg.dataset, root)
        return list_labelled(place, Path(local_copy(labels)), cfg.dataset.num_classes, classes)
    return list_classes(place)
