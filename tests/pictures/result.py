"""What comes out of the quickstart: curves, confusions and the most wrong images."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from beit_exp.config.mapping import load_config
from beit_exp.data.decoding import load_image
from beit_exp.data.listing import ImageList
from beit_exp.data.sources import open_splits
from beit_exp.report.mistakes import mistaken_images
from beit_exp.report.multi_label import load_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes, confusion
from beit_exp.report.runs import read_directory
from pictures.chart import as_png, new_chart, shades, show_image
from pictures.palette import Palette
from pictures.runs import Runs, run_directory

ROWS, COLUMNS = 3, 2  # of the images


def draw(palette: Palette, runs: Runs) -> bytes:
    """The PNG of a run's curves, confusion matrix and most wrong images."""
    folder = run_directory(runs.quickstart())
    images = open_splits(load_config(folder / "config.yaml")).val
    outcomes = load_outcomes(folder / OUTCOMES_FILE)
    assert isinstance(outcomes, Outcomes)
    with new_chart(palette, height=8.4) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.35))
        _curves(above, read_directory(folder).records)
        left, right = below.subfigures(1, 2, width_ratios=(1.25, 1))
        _confusion(left.subplots(), confusion(outcomes, len(images.classes)), palette)
        _mistakes(right, outcomes, images)
        return as_png(figure)


def _curves(figure: Any, records: list[dict[str, Any]]) -> None:
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, label in (
        (loss, "train/loss", "training (smoothed labels)"),
        (loss, "val/loss", "validation"),
        (accuracy, "val/top1", "top-1"),
        (accuracy, "val/top5", "top-5"),
    ):
        having = [record for record in records if name in record]
        axes.plot(
            [record["epoch"] for record in having],
            [record[name] for record in having],
            marker=None if name == "train/loss" else "o",
            label=label,
        )
    loss.set(xlabel="epoch", title="Loss")
    accuracy.set(xlabel="epoch", title="Validation accuracy, percent")
    loss.legend()
    accuracy.legend(loc="lower right")


def _confusion(axes: Any, matrix: np.ndarray, palette: Palette) -> None:
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap=shades(palette), vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        is_right = row == column
        axes.text(
            column,
            row,
            matrix[row, column],
            ha="center",
            va="center",
            color=palette.page if is_right else palette.tones["red"].line,
            fontweight="normal" if is_right else "bold",
        )
    axes.grid(visible=False)
    axes.set_xticks(range(len(matrix)))
    axes.set_yticks(range(len(matrix)))
    axes.set(xlabel="predicted", ylabel="class", title="Confusion matrix")


def _mistakes(figure: Figure, outcomes: Outcomes, images: ImageList) -> None:
    numbers, titles = mistaken_images(outcomes, images.classes)
    figure.suptitle("Most wrong images", fontsize=12.5, fontweight="bold")
    parts = list(figure.subplots(ROWS, COLUMNS).flat)
    for part in parts:
        part.axis("off")
    for part, number, title in zip(parts, numbers, titles, strict=False):
        pixels = np.asarray(load_image(images.paths[number]))
        show_image(part, pixels, "\n".join(title.rsplit(", ", 1)))
