"""Which images there are: class folders on disk, listed in a fixed order."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.config import Config, DatasetConfig, UserError
from beit_exp.data.digits import write_digits
from beit_exp.randomness import Stream, generator
from beit_exp.storage import is_remote, local_copy

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
STAT_THREADS, STAT_CHUNK = 8, 1000
DIGEST_LENGTH = 32  # MLflow takes 36 characters
QUICKSTART_HINT = "To try the project without it, run the quickstart: python launch.py"


@dataclass(frozen=True)
class ImageList:
    """Files in sorted order with their class numbers; `classes` are the sorted folder names."""

    paths: list[str]
    labels: np.ndarray  # (len(paths),) int32
    classes: list[str]

    def __len__(self) -> int:
        return len(self.paths)


def check_folders(cfg: DatasetConfig) -> None:
    """Refuse a data folder that cannot be right, without listing every file."""
    if cfg.name == "digits" or is_remote(cfg.data_url):
        return
    _check_classes(cfg, Path(cfg.data_url))


def open_split(cfg: DatasetConfig, split: str) -> ImageList:
    """The images of `train` or `val`; digits are written first, and remote data copied, if they are not there."""
    root = Path(local_copy(cfg.data_url))
    if cfg.name == "digits":
        write_digits(root)
    else:
        _check_classes(cfg, root)
    return list_classes(root / split)


def training_images(cfg: Config) -> ImageList:
    """The images to train on: all of `train`, or as many of each class as `dataset.images_per_class` says."""
    images, count = open_split(cfg.dataset, "train"), cfg.dataset.images_per_class
    if count is None:
        return images
    chosen: list[int] = []
    for label, name in enumerate(images.classes):
        numbers = np.flatnonzero(images.labels == label)
        if len(numbers) < count:
            raise UserError(f"dataset.images_per_class = {count}: the class {name} holds {len(numbers)} images")
        rng = generator(cfg.seed, Stream.subset, label)
        chosen += sorted(rng.choice(numbers, count, replace=False).tolist())
    return ImageList([images.paths[number] for number in chosen], images.labels[chosen], images.classes)


def _check_classes(cfg: DatasetConfig, root: Path) -> None:
    class_names = {}
    for split in ("train", "val"):
        folder = root / split
        if not folder.is_dir():
            raise UserError(
                f"dataset.data_url = {cfg.data_url!r}: the folder {folder} is missing. It must hold "
                f"train/<class>/* and val/<class>/* with one folder per class. {QUICKSTART_HINT}"
            )
        class_names[split] = _class_folders(folder)
        if len(class_names[split]) != cfg.num_classes:
            raise UserError(
                f"dataset.num_classes = {cfg.num_classes}: {folder} holds {len(class_names[split])} class folders"
            )
    if unlike := set(class_names["train"]) ^ set(class_names["val"]):
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: train/ and val/ must hold the same classes; "
            f"only one of them has {', '.join(sorted(unlike)[:5])}"
        )


def list_classes(folder: Path) -> ImageList:
    """Every image below `folder/<class>/`, sorted by class and path."""
    classes = _class_folders(folder)
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = list_images(folder / name)
        if not found:
            raise UserError(f"the class folder {folder / name} holds no image ({', '.join(EXTENSIONS)})")
        paths += found
        labels += [label] * len(found)
    return ImageList(paths, np.array(labels, dtype=np.int32), classes)


def describe(images: ImageList, *, name: str, source: str, context: str) -> dict[str, Any]:
    """What tells two data sets apart: numbers of images and classes, and a digest of file names and sizes."""
    start = len(os.path.commonpath(images.paths))
    digest = hashlib.sha256()
    chunks = [images.paths[begin : begin + STAT_CHUNK] for begin in range(0, len(images), STAT_CHUNK)]
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # a file system on a network answers many at once
        for chunk, sizes in zip(chunks, pool.map(_sizes, chunks), strict=True):
            for path, size in zip(chunk, sizes, strict=True):
                digest.update(f"{path[start:]} {size}\n".encode())
    found = {"name": name, "source": source, "context": context, "digest": digest.hexdigest()[:DIGEST_LENGTH]}
    return {**found, "images": len(images), "classes": len(images.classes)}


def _sizes(paths: list[str]) -> list[int]:
    return [os.path.getsize(path) for path in paths]


def list_images(folder: Path) -> list[str]:
    """Every image below a folder, in sorted path order."""
    found = []
    for root, _, names in os.walk(folder, followlinks=True):
        found += [os.path.join(root, name) for name in names if is_image(name)]
    return sorted(found)


def is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _class_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
