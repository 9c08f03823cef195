"""The few images of a dry run: some of those that the settings name or, where there are none, a
generated one again and again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from beit_exp.config.schema import DatasetConfig
from beit_exp.data.image_names import is_image
from beit_exp.report.result_files import write_table

SPLITS = ("train", "val")


def make_images(cfg: DatasetConfig, folder: Path, *, counts: tuple[int, int], side: int) -> str:
    """Write `train/<class>/*` and `val/<class>/*` with so many images a class, as links; returns
    what they are.

    `side` is that of a generated image, in pixels.
    """
    given = {split: Path(cfg.data_url, split) for split in SPLITS}
    if cfg.val_labels is None and all(place.is_dir() for place in given.values()):
        for split, count in zip(SPLITS, counts, strict=True):
            for found in sorted(entry for entry in given[split].iterdir() if entry.is_dir()):
                _link(list(islice(images_below(found), count)), folder / split / found.name, count)
        return f"of {cfg.data_url}, {counts[0]} of each class to train on, {counts[1]} to evaluate"
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    for split, count in zip(SPLITS, counts, strict=True):
        for number in range(cfg.num_classes):
            _link([picture], folder / split / f"{number:05d}", count)
    return (
        f"one generated picture, in {cfg.num_classes} classes: no class folders in {cfg.data_url}"
    )


def write_labels(folder: Path, table: Path) -> None:
    """A table of the images in `train/<class>/*` and `val/<class>/*`, each with one label."""
    rows = [
        [path.relative_to(folder), path.parent.name, path.parent.parent.name]
        for path in sorted(folder.glob("*/*/*"))
    ]
    write_table(table, [["path", "label", "split"], *rows])


def images_below(folder: Path) -> Iterator[Path]:
    """In whatever order the file system tells them: to sort them would be to list them all."""
    for place, _, names in os.walk(folder, followlinks=True):
        yield from (Path(place, name) for name in names if is_image(name))


def _link(images: list[Path], folder: Path, count: int) -> None:
    """So many links to images, to some of them several if they are too few."""
    folder.mkdir(parents=True)
    for number, image in enumerate(islice(cycle(images), count)):
        (folder / f"{number:05d}{image.suffix}").symlink_to(image.resolve())
