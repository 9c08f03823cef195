"""How a result answers to what was varied: a curve, a map of two settings, or a part for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.config.objective import is_lower_better
from beit_exp.report.plots import new_figure, save_figure, text_color
from beit_exp.report.variation import REPEATS, Choice

MAP_SIDE = 12  # rows or columns; a map of more cells is drawn as points
SHOWN_KEYS = 6
NAMED_VALUES = 6  # of a setting, each a tick of the axis
WIDE_RANGE = 20  # of the largest to the smallest number: a logarithmic axis


def plot_response(keys: list[str], choices: list[Choice], *, score: str, path: Path) -> None:
    """The mean result of each choice; bars are one standard deviation of runs that repeat it."""
    if len(keys) == 2 and all(_count(choices, number) <= MAP_SIDE for number in (0, 1)):
        _plot_map(keys, choices, score=score, path=path)
    elif len(keys) == 2:
        _plot_points(keys, choices, score=score, path=path)
    else:
        _plot_each(keys[:SHOWN_KEYS], choices, score=score, path=path)


def _plot_each(keys: list[str], choices: list[Choice], *, score: str, path: Path) -> None:
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    width = 6.4 if columns == 1 else 4.0 * columns
    figure, parts = new_figure(columns=columns, rows=rows, width=width, height=3.4 * rows)
    for part in np.ravel(parts)[len(keys) :]:
        part.set_axis_off()
    means = np.array([choice.mean for choice in choices])
    errors = np.array([choice.deviation or 0.0 for choice in choices])
    for number, (key, part) in enumerate(zip(keys, np.ravel(parts), strict=False)):
        places, names = _positions([choice.values[number] for choice in choices])
        order = np.argsort(places, kind="stable")
        part.errorbar(
            places[order],
            means[order],
            yerr=errors[order] if errors.any() else None,
            marker="o",
            capsize=4,
            # A line says that what lies between was passed through
            linestyle="solid"
            if len(keys) == 1 and names is None and key not in REPEATS
            else "none",
        )
        if key in REPEATS:
            spread = means.std(ddof=1)
            part.axhline(means.mean(), color="0.4", linestyle="dotted")
            part.axhspan(means.mean() - spread, means.mean() + spread, color="0.5", alpha=0.15)
        part.set(xlabel=key, ylabel=score)
        part.grid(color="0.9")
        _scale(part, "x", places, names)
        part.margins(x=0.1 if names is None else 0.3, y=0.15)
    figure.suptitle(f"{score} over {' and '.join(keys)}", fontsize="medium")
    save_figure(figure, path)


def _plot_map(keys: list[str], choices: list[Choice], *, score: str, path: Path) -> None:
    columns = [_positions([choice.values[number] for choice in choices]) for number in (0, 1)]
    (rows, row_names), (lines, line_names) = [_indices(places, names) for places, names in columns]
    cells = np.full((len(row_names), len(line_names)), np.nan)
    for row, column, choice in zip(rows, lines, choices, strict=True):
        cells[row, column] = choice.mean
    figure, axes = new_figure(
        width=max(6.4, 2.6 + 1.0 * len(line_names)), height=max(3.2, 1.8 + 0.6 * len(row_names))
    )
    image = axes.imshow(cells, cmap=_better_is_brighter(score), aspect="auto")
    for row, column, choice in zip(rows, lines, choices, strict=True):
        text = f"{choice.mean:.4g}"
        if choice.deviation is not None:
            text += f"\n±{choice.deviation:.2g} ({len(choice.runs)})"
        color = text_color(image.to_rgba(choice.mean))
        axes.text(column, row, text, ha="center", va="center", fontsize="medium", color=color)
    axes.set_yticks(range(len(row_names)), row_names)
    axes.set_xticks(range(len(line_names)), line_names)
    axes.set(ylabel=keys[0], xlabel=keys[1], title=score)
    figure.colorbar(image, label=score)
    save_figure(figure, path)


def _plot_points(keys: list[str], choices: list[Choice], *, score: str, path: Path) -> None:
    figure, axes = new_figure()
    for number, axis in enumerate("xy"):
        places, names = _positions([choice.values[number] for choice in choices])
        getattr(axes, f"set_{axis}label")(keys[number])
        _scale(axes, axis, places, names)
    (places, _), (others, _) = [
        _positions([choice.values[number] for choice in choices]) for number in (0, 1)
    ]
    means = [choice.mean for choice in choices]
    drawn = axes.scatter(
        places, others, c=means, s=80, edgecolors="0.4", cmap=_better_is_brighter(score)
    )
    figure.colorbar(drawn, label=score)
    axes.set(title=score)
    axes.margins(0.1)
    save_figure(figure, path)


def _better_is_brighter(score: str) -> str:
    return "viridis_r" if is_lower_better(score) else "viridis"


def _count(choices: list[Choice], number: int) -> int:
    return len({repr(choice.values[number]) for choice in choices})


def _positions(values: list[Any]) -> tuple[np.ndarray, list[str] | None]:
    """Where values stand on an axis; words, which stand side by side, with their names."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values, float), None
    names = sorted({str(value) for value in values})
    return np.array([names.index(str(value)) for value in values], float), names


def _indices(places: np.ndarray, names: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """Numbers of rows or columns, and their names."""
    unique, indices = np.unique(places, return_inverse=True)
    return indices, names if names is not None else [f"{value:.6g}" for value in unique]


def _scale(axes: Any, which: str, places: np.ndarray, names: list[str] | None) -> None:
    if names is not None:
        getattr(axes, f"set_{which}ticks")(np.arange(len(names)), names)
        return
    if places.min() > 0 and places.max() / places.min() > WIDE_RANGE:
        getattr(axes, f"set_{which}scale")("log")
    values = np.unique(places)
    if len(values) <= NAMED_VALUES:
        getattr(axes, f"set_{which}ticks")(values, [f"{value:.6g}" for value in values])
        getattr(axes, f"set_{which}ticks")([], minor=True)
