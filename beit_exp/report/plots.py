"""Pictures of runs, as PNG files: no display, no global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.optim.groups import Group
from beit_exp.report.outcomes import wrong_alone
from beit_exp.storage.files import replacing

MANY_CLASSES = 40  # a matrix of more cannot be read
CONFUSIONS = 25
THIRD_CURVES = (  # the first that a run measures
    ("val/top1", "validation top-1", "percent"),
    ("val/map", "validation mean average precision", "percent"),
    ("val/masked_accuracy", "validation: hidden tokens found", "percent"),
    ("val/teacher_distance", "validation: distance from the teacher's features", "1 - cosine"),
    ("val/reconstruction_mse", "validation: squared error of pixels", "mean square"),
)
HIDDEN_COLOR = 0.5
LONG_NAME = 60  # letters; of a longer one the legend shows the beginning


def plot_schedule(
    schedule: np.ndarray, groups: list[Group], *, steps_per_epoch: int, path: Path
) -> None:
    """The learning rate of every layer over the epochs."""
    figure, axes = new_figure()
    epochs = np.arange(len(schedule)) / steps_per_epoch
    scales = sorted({group.lr_scale for group in groups})
    for scale in scales:
        axes.plot(
            epochs,
            schedule * scale,
            color=_shade(scales.index(scale), len(scales)),
            label=f"x {scale:.3g}",
        )
    axes.set(xlabel="epoch", ylabel="learning rate", title="learning rate per layer group")
    if len(scales) > 1:
        axes.legend(fontsize="x-small", ncols=2)
    save_figure(figure, path)


def plot_curves(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Training loss, validation loss and what else it measures over the epochs, a colour a run."""
    plot_mean_curves({name: [records] for name, records in runs.items()}, path)


def plot_mean_curves(groups: dict[str, list[list[dict[str, Any]]]], path: Path) -> None:
    """The same of groups of runs: their mean, in a band of one standard deviation."""
    lists = [records for group in groups.values() for records in group]
    measured = {name for records in lists for record in records for name in record}
    third, title, unit = next(
        (entry for entry in THIRD_CURVES if entry[0] in measured), THIRD_CURVES[0]
    )
    figure, axes = new_figure(columns=3, width=12)
    for (name, group), color in zip(groups.items(), _colors(len(groups)), strict=True):
        label = name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"
        for part, metric in zip(axes, ("train/loss", "val/loss", third), strict=True):
            marker = None if metric.startswith("train") else "."
            epochs, mean, deviation = _mean_series(group, metric)
            part.plot(epochs, mean, color=color, label=label, marker=marker)
            if len(group) > 1:
                part.fill_between(
                    epochs, mean - deviation, mean + deviation, color=color, alpha=0.2, linewidth=0
                )
        if len(lists) == 1 and third == "val/top1" and "val/top5" in measured:
            axes[2].lines[-1].set_label("val/top1")
            axes[2].plot(
                *_series(group[0], "val/top5"), color=color, label="val/top5", linestyle="dotted"
            )
    for part, (heading, label) in zip(
        axes, (("training loss", "loss"), ("validation loss", "loss"), (title, unit)), strict=True
    ):
        part.set(xlabel="epoch", ylabel=label, title=heading)
        part.grid(color="0.9")
    if len(groups) > 1:
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
            fontsize="small",
        )
    elif len(axes[2].lines) > 1:
        axes[2].legend(fontsize="small")
    save_figure(figure, path)


def plot_rows(rows: dict[str, np.ndarray], path: Path) -> None:
    """Images (B, 3, S, S) in [0, 1] under each other, a column an image and a titled row a kind."""
    count = min(8, *(len(images) for images in rows.values()))
    figure, axes = new_figure(
        columns=count, rows=len(rows), width=1.3 * count + 0.6, height=1.5 * len(rows)
    )
    for line, (title, images) in zip(
        np.reshape(axes, (len(rows), count)), rows.items(), strict=True
    ):
        for part, image in zip(line, images, strict=False):
            part.set_xticks([])
            part.set_yticks([])
            part.imshow(np.clip(image.transpose(1, 2, 0), 0, 1))
        line[0].set_ylabel(title, fontsize="small")
    save_figure(figure, path)


def hide(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(B, 3, S, S) images with the patches of (B, G, G) masks in grey."""
    side = images.shape[2] // hidden.shape[1]
    pixels = hidden.repeat(side, axis=1).repeat(side, axis=2)[:, None]
    return np.where(pixels, HIDDEN_COLOR, images)


def plot_attention(images: np.ndarray, maps: np.ndarray, titles: list[str], path: Path) -> None:
    """(B, 3, S, S) images in [0, 1], and under each its (G, G) map: where the network looks."""
    count = len(images)
    figure, axes = new_figure(columns=count, rows=2, width=1.8 * count + 0.4, height=4.0)
    above, below = np.reshape(axes, (2, count))
    for number, (image, attention) in enumerate(zip(images, maps, strict=True)):
        pixels = np.clip(image.transpose(1, 2, 0), 0, 1)
        above[number].imshow(pixels)
        above[number].set_title(titles[number], fontsize="x-small")
        side = pixels.shape[0] - 0.5
        below[number].imshow(pixels.mean(axis=2), cmap="grey")
        below[number].imshow(attention, cmap="inferno", alpha=0.6, extent=(-0.5, side, side, -0.5))
    for part in axes.flat:
        part.axis("off")
    save_figure(figure, path)


def plot_position_bias(bias: dict[str, np.ndarray], path: Path) -> None:
    """How much each head of the middle patch favours the others: (H, G, G) of each titled block."""
    heads = min(12, *(len(maps) for maps in bias.values()))
    figure, axes = new_figure(
        columns=heads, rows=len(bias), width=1.1 * heads + 1, height=1.3 * len(bias) + 0.6
    )
    lines = np.reshape(axes, (len(bias), heads))
    for line, (title, maps) in zip(lines, bias.items(), strict=True):
        limit = max(1e-6, float(np.abs(maps).max()))
        line[0].set_ylabel(f"{title}\n±{limit:.2g}", fontsize="x-small")
        for part, values in zip(line, maps, strict=False):
            part.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
            part.set_xticks([])
            part.set_yticks([])
    for head, part in enumerate(lines[0], start=1):
        part.set_title(f"head {head}", fontsize="x-small")
    figure.suptitle(
        "relative position bias of the middle patch: red attracts, blue repels", fontsize="small"
    )
    save_figure(figure, path)


def plot_usage(counts: np.ndarray, path: Path) -> None:
    """How often each visual token occurs, from the most frequent on."""
    figure, axes = new_figure()
    shares = 100 * np.sort(counts)[::-1] / max(1, counts.sum())
    axes.plot(np.arange(1, len(counts) + 1), shares, drawstyle="steps-mid")
    axes.axhline(100 / len(counts), color="grey", linestyle="dotted", label="all equally")
    used = int((counts > 0).sum())
    axes.set(xlabel="visual token, by frequency", ylabel="percent of all tokens")
    axes.set_title(f"{used} of {len(counts)} visual tokens are used")
    axes.legend(fontsize="small")
    save_figure(figure, path)


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """A (K, K) confusion matrix or, of many classes, the most frequent confusions."""
    if len(classes) > MANY_CLASSES:
        _plot_confusions(matrix, classes, path)
        return
    figure, axes = new_figure(height=6.4)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the class", shrink=0.8)
    ticks = np.arange(len(classes))
    axes.set_xticks(ticks, classes, rotation=90, fontsize="x-small")
    axes.set_yticks(ticks, classes, fontsize="x-small")
    size = "small" if len(classes) <= 12 else "xx-small"
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = text_color(image.to_rgba(shares[row, column]))
        text = str(matrix[row, column])
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    axes.set(xlabel="predicted", ylabel="class", title="confusion matrix of the validation images")
    save_figure(figure, path)


def _plot_confusions(matrix: np.ndarray, classes: Sequence[str], path: Path) -> None:
    wrong = wrong_alone(matrix)
    most = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(place), len(classes)) for place in most]
    names = [f"{classes[row]}, not {classes[column]}" for row, column in pairs]
    figure, axes = new_figure(height=6.4)
    axes.barh(np.arange(len(pairs)), [wrong[pair] for pair in pairs])
    axes.set_yticks(np.arange(len(pairs)), names, fontsize="x-small")
    axes.invert_yaxis()
    axes.set(xlabel="images", title="most frequent confusions: class, not predicted")
    save_figure(figure, path)


def _series(records: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    having = [record for record in records if name in record]
    return [record["epoch"] for record in having], [record[name] for record in having]


def _mean_series(
    group: list[list[dict[str, Any]]], name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs that all runs of a group have, and mean and deviation of a metric there."""
    series = [dict(zip(*_series(records, name), strict=True)) for records in group]
    series = [values for values in series if values]
    epochs = sorted(set.intersection(*map(set, series))) if series else []
    values = np.array([[one[epoch] for epoch in epochs] for one in series], float)
    values = values.reshape(max(1, len(series)), len(epochs))
    deviation = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(epochs))
    return np.array(epochs, float), values.mean(axis=0), deviation


def new_figure(
    *, columns: int = 1, rows: int = 1, width: float = 6.4, height: float | None = None
) -> tuple[Any, Any]:
    # Half a second to import; no pyplot, so no display and no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, max(4.0, height or 1.3 * rows)))
    figure.set_layout_engine("constrained")
    return figure, figure.subplots(rows, columns)


def _colors(count: int) -> list[Any]:
    return (
        [f"C{number}" for number in range(count)]
        if count <= 10
        else [_shade(n, count) for n in range(count)]
    )


def _shade(index: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * index / max(1, count - 1))  # its yellow is faint on white


def text_color(color: Sequence[float]) -> str:
    """Black or white, whichever is the easier to read on an RGB colour in [0, 1].

    By relative luminance; at 0.179 both have the same contrast (WCAG 2).
    """
    channels = np.array(color[:3], float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"


def save_figure(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
