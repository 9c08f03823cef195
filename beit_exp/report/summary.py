"""What to say at the end of a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beit_exp.report.intervals import COUNTED, accuracy_interval, as_text
from beit_exp.report.page import duration
from beit_exp.report.runs import images_per_s, training_s
from beit_exp.storage.passwords import HIDDEN

NAMED = 5  # classes


def summary(
    metrics: dict[str, float],
    records: list[dict[str, Any]],
    *,
    run_dir: Path,
    page: Path,
    uri: str,
    following: tuple[str, ...],
    classes: Sequence[Sequence[Any]] = (),
    images: Mapping[str, int] | None = None,
) -> str:
    """The last result beside the best, where it is, and the `following` lines: what to do next.

    A test set's result is of the best weights. `classes` is a `class_table`, with its heading;
    `images` are the numbers of images in `val` and `test`, by which accuracies have an interval.
    """
    names = [name for name in metrics if name.startswith("val/")]
    tested = [name for name in metrics if name.startswith("test/")]
    width = max([9, *map(len, [*names, *tested])]) + 1
    best_epoch = metrics.get("best/epoch", 0.0)
    bests = {name: metrics[f"best/{name}"] for name in names if f"best/{name}" in metrics}
    sure = intervals_of(bests | {name: metrics[name] for name in tested}, images or {})
    lines = [f"{'result':{width}}{'last':>10}{f'epoch {best_epoch:g} (best)':>20}"]
    lines[0] += "   95 % interval" if sure else ""
    for name in names:
        best = bests.get(name)  # what is measured now and then may have no best
        lines.append(
            f"{name:{width}}{metrics[name]:10.4f}"
            + ("" if best is None else f"{best:20.4f}{sure.get(name, '')}")
        )
    lines += [f"{name:{width}}{metrics[name]:30.4f}{sure.get(name, '')}" for name in tested]
    if (speed := images_per_s(records)) is not None:
        elapsed = duration(training_s(records))
        lines.append(f"{'time':{width}}{elapsed:>10}{f'{speed:.0f} images/s':>20}")
    lines += class_lines(classes)
    lines += [
        "",
        f"files     {run_dir}",
        f"report    {page}",
        f"compare   {page_command(uri)}",
        *following,
    ]
    return "\n".join(lines)


def intervals_of(metrics: Mapping[str, float], images: Mapping[str, int]) -> dict[str, str]:
    """The interval of each accuracy over all images of a split, by the metric's name."""
    parts = {name: name.split("/") for name in metrics}
    return {
        name: f"   {as_text(accuracy_interval(metrics[name], images[split]))}"
        for name, (split, metric) in parts.items()
        if split in images and metric in COUNTED
    }


def class_lines(classes: Sequence[Sequence[Any]]) -> list[str]:
    """The classes with the lowest score, and those that the network does not know at all."""
    rows = (row for row in classes[1:] if row[1] and row[2] < 100)
    measured = sorted(rows, key=lambda row: row[2])
    if not measured:
        return []
    worst = (f"{name} {accuracy:.1f} of {count}" for name, count, accuracy, *_ in measured[:NAMED])
    is_accuracy = classes[0][2] == "top1"
    score, found = ("val/top1", "classified correctly") if is_accuracy else ("F1", "found")
    lines = [f"classes   lowest {score} at the last evaluation: {', '.join(worst)}"]
    unknown = [name for name, _, accuracy, *_ in measured if accuracy == 0]
    if unknown:
        others = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        named = ", ".join(unknown[:NAMED])
        lines.append(f"warning   not one image of {named}{others} was {found}")
    return lines


def page_command(uri: str) -> str:
    """The command that shows a store's page; a password is where the run had it from."""
    if HIDDEN in uri:
        return 'MLFLOW_BACKEND_STORE_URI="$MLFLOW_TRACKING_URI" mlflow ui'
    return shlex.join(["mlflow", "ui", "--backend-store-uri", uri])
