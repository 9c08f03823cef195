"""Pictures of a data set: classes by size, widths and heights, pairs that look the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from beit_exp.data.inspection import Inspection
from beit_exp.report.mistakes import thumbnail
from beit_exp.report.plots import MANY_CLASSES, new_figure, save_figure
from beit_exp.report.sheets import draw_sheet

SHOWN_PAIRS = 12
SHOWN_SIZES = 5000  # circles
LARGEST_CIRCLE = 250  # square points
FEW_ALIKE = 20  # images of one size: less than that many make no large circle
WIDE_RANGE = 20  # times: what differs by more is drawn on a logarithmic scale
BINS = 40


def plot_class_sizes(
    sizes: np.ndarray, splits: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """(splits, classes) numbers of images as bars or, of many classes, as curves by rank."""
    order = np.argsort(-sizes[0], kind="stable")
    if len(classes) > MANY_CLASSES:
        figure, axes = new_figure(width=9)
        for split, counts in zip(splits, sizes, strict=True):
            ranks = np.arange(1, len(classes) + 1)
            axes.plot(ranks, np.sort(counts)[::-1], label=split, drawstyle="steps-mid")
        axes.set(xlabel="classes, from the largest on", ylabel="images", yscale="symlog")
    else:
        figure, axes = new_figure(width=9, height=1.5 + 0.25 * len(classes))
        ends, places = np.zeros(len(classes), np.int64), np.arange(len(classes))
        for split, counts in zip(splits, sizes[:, order], strict=True):
            axes.barh(places, counts, left=ends, label=split)
            ends = ends + counts
        for place, end in enumerate(ends):
            axes.annotate(f" {end:,}", (end, place), va="center", fontsize="x-small")
        axes.set_yticks(places, [classes[label] for label in order], fontsize="small")
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel("images")
    axes.set_title("images of each class")
    axes.legend(
        fontsize="small", loc="upper right" if len(classes) > MANY_CLASSES else "lower right"
    )
    save_figure(figure, path)


def plot_sizes(width: np.ndarray, height: np.ndarray, path: Path) -> None:
    """Width and height of the images, and their shorter sides; nothing if none can be read."""
    is_read = width > 0
    if not is_read.any():
        return
    sides = np.stack([width[is_read], height[is_read]], axis=1).astype(np.int64)
    found, counts = np.unique(sides, axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:SHOWN_SIZES]
    figure, (left, right) = new_figure(columns=2, width=10, height=4.4)
    area = 12 + LARGEST_CIRCLE * (counts[most] - 1) / max(FEW_ALIKE, counts.max())
    left.scatter(*found[most].T, s=area, alpha=0.5, linewidths=0)
    ends = sides.min(), sides.max()
    left.plot(ends, ends, color="grey", linestyle="dotted", linewidth=1)
    scale = "log" if ends[1] > WIDE_RANGE * ends[0] else "linear"
    left.set(xlabel="width, pixels", ylabel="height, pixels", title="sizes")
    left.set(xscale=scale, yscale=scale)
    shorter = sides.min(axis=1)
    if scale == "log":
        bins = np.geomspace(shorter.min(), shorter.max() + 1, BINS)
    else:
        step = -(-int(np.ptp(shorter)) // BINS) or 1
        bins = np.arange(shorter.min() - 0.5, shorter.max() + step, step)
    right.hist(shorter, bins=bins)
    right.set(xlabel="shorter side, pixels", ylabel="images", title="shorter sides", xscale=scale)
    save_figure(figure, path)


def plot_pairs(data: Inspection, path: Path) -> None:
    """The first near pairs, side by side under their splits and classes; nothing without any."""
    chosen = np.flatnonzero(~data.pairs.exact)[:SHOWN_PAIRS]
    numbers = [
        (rank, number)
        for rank, place in enumerate(chosen, start=1)
        for number in (data.pairs.first[place], data.pairs.second[place])
    ]
    if numbers:
        titles = [
            f"{rank}: {data.splits[data.split[number]]}, {data.label(number)}"
            for rank, number in numbers
        ]
        draw_sheet([thumbnail(data.paths[number]) for _, number in numbers], path, titles=titles)
