"""What a sweep ends with: its table, and accuracy over the swept values."""

from __future__ import annotations

from typing import Any

from beit_exp.report.intervals import accuracy_interval
from beit_exp.report.markup import cell
from beit_exp.report.page import table
from beit_exp.report.runs import Run, judged_alike, ranked, read_place
from pictures.chart import as_svg, new_chart
from pictures.palette import Palette
from pictures.runs import SWEEP, Runs

SWEPT = "optimizer.layer_decay"
SHOWN = (SWEPT, "best val/top1", "95 % interval", "epoch", "images/s", "time")


def draw(palette: Palette, runs: Runs) -> str:
    """The SVG of table and charts of a sweep that was really run."""
    found = ranked(judged_alike(read_place(runs.sweep() / "sweep")))
    title = "python launch.py " + " ".join(SWEEP)
    with new_chart(palette, height=6.0) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.9))
        _table(above.subplots(), found, palette, title)
        left, right = below.subplots(1, 2)
        values = {run.name: run.settings[SWEPT] for run in found}
        for run in found:
            _best(left, values[run.name], run)
        left.set_xticks(sorted(values.values()))
        left.margins(0.25, 0.08)
        left.set(xlabel=SWEPT, title="Best validation top-1, percent")
        for run in sorted(found, key=lambda each: values[each.name]):
            curve = [
                (each["epoch"], each["val/top1"]) for each in run.records if "val/top1" in each
            ]
            right.plot(*zip(*curve, strict=True), marker=".", label=f"{values[run.name]}")
        right.legend(title=SWEPT)
        right.set(xlabel="epoch", title="Validation top-1, percent")
        return as_svg(figure, "A sweep's table and charts")


def _best(axes: Any, value: float, run: Run) -> None:
    """The best result of a run, in its interval of 95 %."""
    assert run.best is not None and run.validation_set is not None
    score = run.best[0]
    low, high = accuracy_interval(score, run.validation_set["images"])
    axes.errorbar(
        value, score, yerr=[[score - low], [high - score]], marker="o", capsize=5, color="C0"
    )
    axes.annotate(
        f"{score:.1f}", (value, score), xytext=(9, 0), textcoords="offset points", va="center"
    )


def _table(axes: Any, found: list[Run], palette: Palette, title: str) -> None:
    header, rows = table(found)
    columns = [header.index(name) for name in SHOWN]
    axes.axis("off")
    axes.set_title(title, fontsize=12)
    cells = [[cell(row[column]) for column in columns] for row in rows]
    drawn = axes.table(cells, colLabels=SHOWN, loc="center", cellLoc="left", edges="B")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(11)
    drawn.auto_set_column_width(range(len(columns)))
    drawn.scale(1, 1.75)
    for (row, _), part in drawn.get_celld().items():
        part.set_edgecolor(palette.grid)
        if row <= 1:
            part.set_text_props(fontweight="bold")
