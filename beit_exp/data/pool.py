"""Images that are split by the settings or by a table, not by the folders that they lie in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import Config, DatasetConfig
from beit_exp.data import archives
from beit_exp.data.label_table import LabelTable, read_label_table
from beit_exp.data.listing import ImageList, list_classes
from beit_exp.data.shards import has_label_files, in_order_of_names, shards_of
from beit_exp.data.splits import SPLITS, split_folds, split_images
from beit_exp.errors import UserError
from beit_exp.storage.remote import local_copy


@dataclass(frozen=True)
class Pool:
    """Images in the order of a listing, with the split of each and, where there are such, groups.

    `root` is the folder from which the data set names its images.
    """

    root: Path
    images: ImageList
    splits: np.ndarray  # (len(images),) of SPLITS
    groups: list[str] | None

    def names(self) -> list[str]:
        """The path of each image in the data set; the whole one if it lies elsewhere."""
        return [path.removeprefix(f"{self.root}/") for path in self.images.paths]

    def take(self, numbers: np.ndarray) -> Pool:
        """The same of some images, in their order."""
        groups = None if self.groups is None else [self.groups[number] for number in numbers]
        return Pool(self.root, self.images.take(numbers), self.splits[numbers], groups)

    def open_split(self, split: str) -> ImageList:
        """The images of one split."""
        return self.images.take(np.flatnonzero(self.splits == split))


def is_pooled(cfg: DatasetConfig) -> bool:
    """Whether the settings or a table split the images, of whatever split."""
    shares = (cfg.val_fraction, cfg.test_fraction)
    return cfg.labels is not None or cfg.folds is not None or any(shares)


def pool_classes(cfg: Config, root: Path, place: Path) -> Pool:
    """The images of the class folders in `place`, split by the fractions that the settings say.

    Those of shards are split as in one folder, however they are packed.
    """
    listed, shards = list_classes(place), shards_of(place)
    order = in_order_of_names(listed.paths) if shards else np.arange(len(listed))
    images, groups = listed.take(order), None
    if cfg.dataset.groups is not None:
        of_classes = not has_label_files(shards)
        groups = _folders(images.paths, place, of_classes=of_classes)
        if len(set(groups)) == len(groups):
            where = "its class's folder" if of_classes else "no folder"
            raise UserError(
                f"dataset.groups = 'folder': in {place} every image lies directly in {where}. What "
                "is to stay on one side must lie in a folder of its own there: "
                f"{'<class>/' if of_classes else ''}<group>/*"
            )
    return _split(cfg, root, images, groups).take(np.argsort(order))


def pool_table(cfg: Config, root: Path) -> Pool:
    """The images of the table `dataset.labels`, split as it says or else by the fractions."""
    place, data = Path(local_copy(str(cfg.dataset.labels))), cfg.dataset
    root = Path(os.path.abspath(root))
    needs_groups = data.groups == "table"
    table = read_label_table(
        place,
        root,
        num_classes=data.num_classes,
        needs_groups=needs_groups,
        multi_label=data.multi_label,
    )
    groups = _groups(data, table, root)
    if table.splits is None:
        if data.val_fraction == 0 and data.folds is None:
            raise UserError(
                f"dataset.labels: {place} tells no split: give it a column `split` "
                "(train, val, test), or say dataset.val_fraction=0.2"
            )
        return _split(cfg, root, table.images, groups)
    if data.folds is not None:
        raise UserError(
            f"dataset.folds = {data.folds}: must be null, for {place} has a column `split`"
        )
    for key, fraction in (("val", data.val_fraction), ("test", data.test_fraction)):
        if fraction > 0:
            raise UserError(
                f"dataset.{key}_fraction = {fraction:g}: must be 0, for {place} has a column "
                "`split`"
            )
    if groups is not None:
        _check_groups(place, groups, table.splits)
    return Pool(root, table.images, np.array(table.splits), groups)


def _split(cfg: Config, root: Path, images: ImageList, groups: list[str] | None) -> Pool:
    data, labels, classes = cfg.dataset, images.labels, images.classes
    if data.folds is None:
        fractions = (data.val_fraction, data.test_fraction)
        splits = split_images(labels, groups, fractions=fractions, classes=classes, seed=cfg.seed)
    else:
        splits = split_folds(
            labels,
            groups,
            folds=data.folds,
            fold=data.fold,
            test_fraction=data.test_fraction,
            classes=classes,
            seed=cfg.seed,
        )
    return Pool(root, images, splits, groups)


def _groups(cfg: DatasetConfig, table: LabelTable, root: Path) -> list[str] | None:
    match cfg.groups:
        case None:
            return None
        case "folder":
            return _folders(table.images.paths, root, of_classes=False)
        case "table":
            return table.groups
        case _:
            assert_never(cfg.groups)


def _folders(paths: list[str], place: Path, *, of_classes: bool) -> list[str]:
    """The folder that holds each image, or the image itself where that is `place` or, of class
    folders, one of these. What lies in a tar, lies in the tar's folder.
    """
    folder = place if place.is_dir() else place.parent
    tars = {tar for tar in set(map(archives.archive_of, paths)) if tar and os.path.isfile(tar)}
    found = []
    for path in paths:
        if (tar := archives.archive_of(path)) in tars:
            path = os.path.join(os.path.dirname(str(tar)), archives.name_in(path))
        inside = path.removeprefix(f"{folder}/")
        is_alone = inside.count("/") <= of_classes
        found.append(inside if is_alone else os.path.dirname(inside))
    return found


def _check_groups(table: Path, groups: list[str], splits: list[str]) -> None:
    split_of: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        other = split_of.setdefault(group, split)
        if other != split:
            first, second = sorted((other, split), key=SPLITS.index)
            raise UserError(
                f"dataset.labels: {table} has images of the group {group!r} in {first} and in "
                f"{second}"
            )
