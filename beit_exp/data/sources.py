"""Which images there are: class folders on disk, listed in a fixed order."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.command_line import launch_command
from beit_exp.config.schema import Config, DatasetConfig
from beit_exp.data import archives
from beit_exp.data.archives import ENDING
from beit_exp.data.digits import write_digits
from beit_exp.errors import UserError
from beit_exp.randomness import Stream, generator
from beit_exp.storage.foreign import reading
from beit_exp.storage.remote import is_remote, local_copy

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
STAT_THREADS, STAT_CHUNK = 8, 1000
DIGEST_LENGTH = 32  # MLflow takes 36 characters


@dataclass(frozen=True)
class ImageList:
    """Files in sorted order with their class numbers; `classes` are the sorted folder names."""

    paths: list[str]
    labels: np.ndarray  # (len(paths),) int32
    classes: list[str]

    def __len__(self) -> int:
        return len(self.paths)


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
    names = {split: _class_folders(place) for split, place in places.items()}
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


def list_classes(folder: Path) -> ImageList:
    """Every image below `folder/<class>/`, sorted by class and path.

    The folder may be a tar. `UserError` names a class without images.
    """
    classes = _class_folders(folder)
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = list_images(folder / name)
        if not found:
            raise UserError(
                f"the class folder {folder / name} holds no image ({', '.join(EXTENSIONS)})"
            )
        paths += found
        labels += [label] * len(found)
    return ImageList(paths, np.array(labels, dtype=np.int32), classes)


def class_names(cfg: DatasetConfig, root: Path) -> list[str]:
    """The class folders of `train`; none where there is no such split."""
    is_there = (root / "train").is_dir() or (root / f"train{ENDING}").is_file()
    return _class_folders(place_of(cfg, root, "train")) if is_there else []


def list_labelled(folder: Path, labels: Path, num_classes: int, classes: list[str]) -> ImageList:
    """Every image of a flat folder, sorted by path, with its class from lines `<image> <class>`.

    A class is a name or, counted from 0, a number. Without `classes` the names of the lines,
    sorted, are the classes. `UserError` if an image has no class or a line no image, or another
    number of classes is found.
    """
    with reading(labels):
        text = labels.read_text(encoding="utf-8-sig")
    lines = [line.replace(",", " ").split() for line in text.splitlines()]
    pairs = [(Path(words[0]).name, words[1]) for words in lines if len(words) >= 2]
    class_of = dict(pairs)
    if len(class_of) != len(lines):
        raise UserError(
            f"dataset.val_labels: {labels} must hold one line `<image> <class>` for each image"
        )
    paths = list_images(folder)
    names = {Path(path).name for path in paths}
    if len(names) != len(paths):
        raise UserError(
            f"dataset.val_labels: {folder} holds images of the same name in several folders"
        )
    if unnamed := sorted(names - class_of.keys()):
        raise UserError(
            f"dataset.val_labels: {labels} names no class for {unnamed[0]} "
            f"({len(unnamed)} such images)"
        )
    if absent := sorted(class_of.keys() - names):
        raise UserError(
            f"dataset.val_labels: {labels} names {absent[0]}, which is not in {folder} "
            f"({len(absent)} such images)"
        )
    found = [class_of[Path(path).name] for path in paths]
    are_numbers = all(name.isdecimal() for name in found) and not set(found) <= set(classes)
    if are_numbers:
        classes = classes or [str(number) for number in range(num_classes)]
        numbers = {str(number): number for number in range(num_classes)}
    else:
        classes = classes or sorted(set(found))
        numbers = {name: number for number, name in enumerate(classes)}
    if len(classes) != num_classes or (unknown := sorted(set(found) - numbers.keys())):
        what = (
            f"has the class {unknown[0]!r}"
            if len(classes) == num_classes
            else f"has {len(classes)} classes"
        )
        raise UserError(f"dataset.val_labels: {labels} {what}; dataset.num_classes = {num_classes}")
    return ImageList(paths, np.array([numbers[name] for name in found], np.int32), classes)


def describe(images: ImageList, *, name: str, source: str, context: str) -> dict[str, Any]:
    """What tells two data sets apart: numbers of images and classes, and a digest.

    The digest is of file names and sizes.
    """
    start = len(os.path.commonpath(images.paths))
    digest = hashlib.sha256()
    chunks = [
        images.paths[begin : begin + STAT_CHUNK] for begin in range(0, len(images), STAT_CHUNK)
    ]
    # A file system on a network answers many at once
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        for chunk, sizes in zip(chunks, pool.map(_sizes, chunks), strict=True):
            for path, size in zip(chunk, sizes, strict=True):
                digest.update(f"{path[start:]} {size}\n".encode())
    found = {
        "name": name,
        "source": source,
        "context": context,
        "digest": digest.hexdigest()[:DIGEST_LENGTH],
    }
    return {**found, "images": len(images), "classes": len(images.classes)}


def _sizes(paths: list[str]) -> list[int]:
    return [
        archives.size_of(path) if archives.is_member(path) else _size_of(path) for path in paths
    ]


def _size_of(path: str) -> int:
    with reading(path):
        return os.path.getsize(path)


def list_images(folder: Path) -> list[str]:
    """Every image below a folder or in a tar, in sorted path order."""
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
    _check_names(found)
    return sorted(found)


def _check_names(paths: list[str]) -> None:
    """Names stand in logs, reports and digests, which are text."""
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UserError(f"the name {os.fsencode(path)!r} is not UTF-8: rename it") from None


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _class_folders(folder: Path) -> list[str]:
    if folder.is_file():
        return archives.folders_in(folder)
    with os.scandir(folder) as entries:
        found = [
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        ]
    _check_names(found)
    return sorted(found)
