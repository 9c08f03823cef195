"""Where a network is wrong: which classes it confuses, and on which images it is the most wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from beit_exp.data.decoding import load_image
from beit_exp.data.listing import ImageList
from beit_exp.report.outcomes import Outcomes, confusion
from beit_exp.report.plots import plot_confusion
from beit_exp.report.sheets import CELL, draw_sheet

SHOWN = 24


def plot_outcomes(outcomes: Outcomes, images: ImageList, folder: Path) -> None:
    """`confusion.png` and `mistakes.png` of an evaluation of all `images`."""
    matrix = confusion(outcomes, len(images.classes))
    plot_confusion(matrix, images.classes, folder / "confusion.png")
    worst = most_wrong(outcomes)[:SHOWN]
    titles = [
        f"{images.classes[outcomes.labels[number]]}, "
        f"not {images.classes[outcomes.predicted[number]]}, "
        f"{100 * outcomes.probability[number]:.0f} %"
        for number in worst
    ]
    heading = (
        "Most wrong validation images: class, not predicted, probability of the predicted"
        if len(worst)
        else "No validation image is wrong"
    )
    pictures = [thumbnail(images.paths[number]) for number in worst]
    draw_sheet(pictures, folder / "mistakes.png", titles=titles, heading=heading)


def most_wrong(outcomes: Outcomes) -> np.ndarray:
    """Numbers of the images whose class was not found, the least expected class first."""
    wrong = np.flatnonzero(outcomes.predicted != outcomes.labels)
    return wrong[np.argsort(outcomes.label_probability[wrong], kind="stable")]


def thumbnail(path: str) -> Image.Image:
    """An image file's picture, at most a cell of the sheet large."""
    image = load_image(path)
    image.thumbnail((CELL, CELL))
    return image
