"""Images in folders, tars and shards, listed in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from beit_exp.data import archives
from beit_exp.data.archives import ENDING
from beit_exp.data.image_names import EXTENSIONS, check_names, is_image
from beit_exp.data.shards import classes_in, images_in, labelled_in, other_files_in, shards_of
from beit_exp.errors import UserError

STAT_THREADS, STAT_CHUNK = 8, 1000
T = TypeVar("T")


@dataclass(frozen=True)
class ImageList:
    """Files in sorted order, of shards as they lie there, with their class numbers; `classes` are
    the sorted names of folders.
    """

    paths: list[str]
    labels: np.ndarray  # (len(paths),) int32; of several labels an image (len(paths), K) uint8
    classes: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, numbers: np.ndarray) -> ImageList:
        """Some of them, in the order of their numbers."""
        paths = [self.paths[number] for number in numbers]
        return ImageList(paths, self.labels[numbers], self.classes)


def list_classes(folder: Path) -> ImageList:
    """Every image below `folder/<class>/`, sorted by class and path.

    The folder may be a tar, or a place of shards. `UserError` names a class without images.
    """
    if shards := shards_of(folder):
        return ImageList(*labelled_in(shards))
    classes = class_folders(folder)
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = list_images(folder / name)
        if not found:
            raise UserError(
                f"the class folder {folder / name} holds no image "
                f"({', '.join(EXTENSIONS)}): put some in, or remove it"
            )
        paths += found
        labels += [label] * len(found)
    return ImageList(paths, np.array(labels, dtype=np.int32), classes)


def list_images(folder: Path) -> list[str]:
    """Every image below a folder or in a tar, in sorted path order, or in shards as it lies."""
    if shards := shards_of(folder):
        return images_in(shards)
    archive = next(
        (
            place
            for place in (folder, *folder.parents)
            if place.suffix == ENDING and place.is_file()
        ),
        None,
    )
    if archive is not None:
        beginning = f"{folder.relative_to(archive)}/".removeprefix("./")
        return [
            f"{archive}/{name}"
            for name in archives.names_below(archive, beginning)
            if is_image(Path(name).name)
        ]
    found = []
    for root, _, names in os.walk(folder, followlinks=True):
        found += [os.path.join(root, name) for name in names if is_image(name)]
    check_names(found)
    return sorted(found)


def list_other_files(folder: Path) -> list[str]:
    """Every file below `folder/<class>/` that is no image by its name, but for hidden ones."""
    if shards := shards_of(folder):
        return other_files_in(shards)
    found: list[str] = []
    if folder.is_file():
        found = [f"{folder}/{name}" for name in archives.names_below(folder, "") if "/" in name]
    else:
        for place in class_folders(folder):
            for root, _, names in os.walk(folder / place, followlinks=True):
                # They are told alone, so what is no text in a name need not be kept
                texts = [os.fsencode(name).decode(errors="replace") for name in names]
                found += [os.path.join(root, text) for text in texts]
    names = [os.path.basename(path) for path in found]
    return sorted(
        path
        for path, name in zip(found, names, strict=True)
        if not is_image(name) and not name.startswith(".")
    )


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in one, or at the top of a tar, in sorted order; of shards those of
    their classes.
    """
    if shards := shards_of(folder):
        return classes_in(shards)
    if folder.is_file():
        return archives.folders_in(folder)
    with os.scandir(folder) as entries:
        found = [
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        ]
    check_names(found)
    return sorted(found)


def ask_of_each(paths: list[str], ask: Callable[[list[str]], list[T]]) -> list[T]:
    """What `ask` finds of many paths, a thousand at once in each of several threads: a file system
    on a network answers many.
    """
    chunks = [paths[begin : begin + STAT_CHUNK] for begin in range(0, len(paths), STAT_CHUNK)]
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        return [found for answers in pool.map(ask, chunks) for found in answers]
