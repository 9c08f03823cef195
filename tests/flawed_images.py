"""A small data set with copies, leaks and odd files, for the tests of what is found in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FOUND = {  # of `write_flawed`
    "data/train_images": 12,
    "data/train_bad_images": 0,
    "data/val_images": 6,
    "data/val_bad_images": 0,
    "data/classes": 2,
    "data/leaks": 2,
    "data/label_conflicts": 1,
    "data/duplicates": 2,
    "data/near_duplicates": 2,
    "data/small_classes": 2,
    "data/tiny_images": 1,
    "data/long_images": 1,
    "data/other_files": 1,
}


def draw(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth picture, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def write_flawed(folder: Path) -> Path:
    """Two classes of `train` and `val`, and among them the files that are named below."""
    places = [folder / split / name for split in ("train", "val") for name in ("cat", "dog")]
    for number, place in enumerate(places):
        place.mkdir(parents=True)
        for name in range(4 if "train" in place.parts else 2):
            draw(10 * number + name).save(place / f"{name}.png")
    cat, dog, held_cat, held_dog = places
    (held_cat / "leak.png").write_bytes((cat / "0.png").read_bytes())
    draw(10).save(held_dog / "leak.jpg", quality=80)  # of dog/0.png
    (dog / "other_label.png").write_bytes((cat / "1.png").read_bytes())
    draw(2).resize((87, 73)).save(cat / "smaller.png")  # of cat/2.png
    draw(100, (16, 16)).convert("L").save(dog / "tiny.png")
    draw(101, (250, 50)).save(dog / "long.png")
    (cat / "notes.txt").touch()
    (dog / ".hidden").touch()
    return folder
