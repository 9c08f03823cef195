"""Where a network is wrong: which classes it confuses, and on which images it is the most wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from beit_exp.data.decoding import load_image
from beit_exp.data.listing import ImageList
from beit_exp.report.calibration import plot_reliability
from beit_exp.report.multi_label import AnyOutcomes, MultiLabelOutcomes
from beit_exp.report.outcomes import Outcomes, confusion
from beit_exp.report.plots import plot_confusion
from beit_exp.report.sheets import CELL, draw_sheet

SHOWN = 24


def plot_outcomes(outcomes: AnyOutcomes, images: ImageList, folder: Path) -> None:
    """`mistakes.png` of an evaluation of all `images` and, of one label each, `confusion.png` and
    `reliability.png`.
    """
    if isinstance(outcomes, Outcomes):
        matrix = confusion(outcomes, len(images.classes))
        plot_confusion(matrix, images.classes, folder / "confusion.png")
        plot_reliability(outcomes, folder / "reliability.png")
        worst, titles = mistaken_images(outcomes, images.classes)
        reading = "class, not predicted, probability of the predicted"
    else:
        worst, titles = mistaken_labels(outcomes, images.classes)
        reading = "label that was missed, or is not there, and its probability"
    heading = (
        f"Most wrong validation images: {reading}" if titles else "No validation image is wrong"
    )
    pictures = [thumbnail(images.paths[number]) for number in worst]
    draw_sheet(pictures, folder / "mistakes.png", titles=titles, heading=heading)


def mistaken_images(outcomes: Outcomes, classes: list[str]) -> tuple[list[int], list[str]]:
    """Numbers of the most wrong images, and what was wrong of each."""
    worst = most_wrong(outcomes)[:SHOWN].tolist()
    return worst, [
        f"{classes[outcomes.labels[number]]}, "
        f"not {classes[outcomes.predicted[number]]}, "
        f"{100 * outcomes.probability[number]:.0f} %"
        for number in worst
    ]


def mistaken_labels(
    outcomes: MultiLabelOutcomes, classes: list[str]
) -> tuple[list[int], list[str]]:
    """The same where labels are wrong, the furthest from what they should be first."""
    distance = np.abs(outcomes.labels - outcomes.probabilities)
    is_wrong = outcomes.predicted != outcomes.labels
    order = np.argsort(-np.where(is_wrong, distance, -1).ravel(), kind="stable")
    worst = order[: min(SHOWN, np.count_nonzero(is_wrong))]
    images, labels = np.unravel_index(worst, distance.shape)
    titles = []
    for image, label in zip(images, labels, strict=True):
        share = f"{100 * outcomes.probabilities[image, label]:.0f} %"
        is_missed = outcomes.labels[image, label] == 1
        titles.append(
            f"{classes[label]} missed, {share}" if is_missed else f"not {classes[label]}, {share}"
        )
    return images.tolist(), titles


def most_wrong(outcomes: Outcomes) -> np.ndarray:
    """Numbers of the images whose class was not found, the least expected class first."""
    wrong = np.flatnonzero(outcomes.predicted != outcomes.labels)
    return wrong[np.argsort(outcomes.label_probability[wrong], kind="stable")]


def thumbnail(path: str) -> Image.Image:
    """An image file's picture, at most a cell of the sheet large."""
    image = load_image(path)
    image.thumbnail((CELL, CELL))
    return image
