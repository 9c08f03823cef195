"""Attention roll-out on two photographs, of a network that learned to tell their crops apart.

Photographs of scikit-learn's sample images: china.jpg by danielbuechele, flower.jpg by vultilion,
both on Flickr, CC BY 2.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from beit_exp.data.decoding import load_image
from pictures.chart import as_webp, new_chart, show_image
from pictures.palette import Palette
from pictures.runs import Runs

NAMES = ("china", "flower")
CROPS, CROP_SIDE = 400, 96  # of each photograph, for training
SIDES = (96, 300)  # of a crop, in the photograph's own pixels
SHOWN_SIDE = 320
SHIFTS = (0.0, 1.0)  # of the squares that are shown, from the left end to the right one
SEED = 0


def draw(palette: Palette, runs: Runs) -> bytes:
    """The WebP of squares of both photographs, and below each where the network looks."""
    images, found = explained(runs)
    maps = np.load(found / "attention.npy")
    with new_chart(palette, height=4.5) as figure:
        above, below = figure.subplots(2, len(maps))
        for upper, lower, path, weights in zip(above, below, images, maps, strict=True):
            pixels = np.asarray(load_image(path))
            show_image(upper, pixels, f"a square of {path.name.partition('_')[0]}.jpg")
            show_image(lower, pixels.mean(axis=2), cmap="gray", vmin=0, vmax=255)
            side = len(pixels) - 0.5
            strongest = weights / weights.max()
            lower.imshow(
                weights,
                cmap="inferno",
                alpha=0.2 + 0.65 * strongest,
                extent=(-0.5, side, side, -0.5),
            )
        return as_webp(figure)


def explained(runs: Runs) -> tuple[list[Path], Path]:
    """The images that are shown, in their order, and the run directory of `task=explain`."""
    place = runs.folder / "photographs"
    if not place.exists():
        save_squares(place)
    data = f"dataset.data_url={place / 'data'}"
    training = runs.typed(
        "training", "experiment=own_images", data, "train.epochs=20", "hydra.run.dir=run"
    )
    shown = runs.typed(
        "explained",
        "task=explain",
        f"checkpoint={training / 'run'}",
        f"images={place / 'shown'}",
        "hydra.run.dir=run",
    )
    return sorted((place / "shown").iterdir()), shown / "run"


def save_squares(place: Path) -> None:
    """Crops to train on, a folder a photograph, and the squares to show."""
    rng = np.random.default_rng(SEED)
    (place / "shown").mkdir(parents=True)
    for name in NAMES:
        photograph = Image.fromarray(load_sample_image(f"{name}.jpg"))
        folder = place / "data" / "train" / name
        folder.mkdir(parents=True)
        for number in range(CROPS):
            side = int(rng.integers(*SIDES))
            left = int(rng.integers(photograph.width - side))
            top = int(rng.integers(photograph.height - side))
            crop = photograph.crop((left, top, left + side, top + side))
            crop.resize((CROP_SIDE, CROP_SIDE)).save(folder / f"{number:03}.png")
        side = photograph.height
        for number, shift in enumerate(SHIFTS):
            left = round(shift * (photograph.width - side))
            square = photograph.crop((left, 0, left + side, side))
            path = place / "shown" / f"{name}_{number}.png"
            square.resize((SHOWN_SIDE, SHOWN_SIDE)).save(path)
