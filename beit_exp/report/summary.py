"""What to say at the end of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
) -> str:
    """The last result beside the best, where it is, and the `following` lines: what to do next.

    A test set's result is of the best weights. `classes` are rows of `outcomes.class_table`.
    """
    names = [name for name in metrics if name.startswith("val/")]
    tested = [name for name in metrics if name.startswith("test/")]
    width = max([9, *map(len, [*names, *tested])]) + 1
    best_epoch = metrics.get("best/epoch", 0.0)
    lines = [f"{'result':{width}}{'last':>10}{f'epoch {best_epoch:g} (best)':>20}"]
    for name in names:
        best = metrics.get(f"best/{name}")  # what is measured now and then may have no best
        lines.append(
            f"{name:{width}}{metrics[name]:10.4f}" + ("" if best is None else f"{best:20.4f}")
        )
    lines += [f"{name:{width}}{metrics[name]:30.4f}" for name in tested]
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


def class_lines(classes: Sequence[Sequence[Any]]) -> list[str]:
    """The classes with the lowest accuracy, and those that the network does not know at all."""
    measured = sorted((row for row in classes if row[1] and row[2] < 100), key=lambda row: row[2])
    if not measured:
        return []
    worst = (f"{name} {accuracy:.1f} of {count}" for name, count, accuracy, *_ in measured[:NAMED])
    lines = [f"classes   lowest val/top1 at the last evaluation: {', '.join(worst)}"]
    unknown = [name for name, _, accuracy, *_ in measured if accuracy == 0]
    if unknown:
        others = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        named = ", ".join(unknown[:NAMED])
        lines.append(f"warning   not one image of {named}{others} was classified correctly")
    return lines


def page_command(uri: str) -> str:
    """The command that shows a store's page; a password is where the run had it from."""
    if HIDDEN in uri:
        return 'MLFLOW_BACKEND_STORE_URI="$MLFLOW_TRACKING_URI" mlflow ui'
    return shlex.join(["mlflow", "ui", "--backend-store-uri", uri])
