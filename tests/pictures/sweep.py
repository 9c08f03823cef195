"""What a sweep ends with: its table, and accuracy over the swept values."""

from __future__ import annotations


from beit_exp.report.page import table
from beit_exp.report.runs import Run, judged_alike, ranked, read_place
from pictures.chart import as_svg, new_chart
from pictures.palette import Palette
from pictures.runs import SWEEP, Runs

SWEPT = "optimizer.layer_decay"
SHOWN = (SWEPT, "best val/top1", "epoch", "images/s", "time", "status")


def draw(palette: Palette, runs: Runs) -> str:
    """The SVG of table and charts of a sweep that was really run."""
    found = ranked(judged_alike(read_place(runs.sweep() / "sweep")))
    title = "python launch.py " + " ".join(SWEEP)
    with new_chart(palette, height=6.0) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(1.25, 2))
        _table(above.subplots(), found, palette, title)
        left, right = below.subplots(1, 2)
        values = {run.name: run.settings[SWEPT] for run in found}
        best = sorted((values[run.name], run.best[0]) for run in found if run.best)
        left.plot(*zip(*best, strict=True), marker="o", markersize=8)
        for value, score in best:
            left.annotate(
                f"{score:.1f}", (value, score), xytext=(0, 9), textcoords="offset points", ha="center"
            )
        left.set_xticks([value for value, _ in best])
        left.margins(0.18)
        left.set(xlabel=SWEPT, title="Best validation top-1, percent")
        for run in sorted(found, key=lambda each: values[each.name]):
            curve = [(each["epoch"], each["val/top1"]) for each in run.records if "val/top1" in each]
            right.plot(*zip(*curve, strict=True), marker=".", label=f"{values[run.name]}")
        right.legend(title=SWEPT)
        right.set(xlabel="epoch", title="Validation top-1, percent")
        return as_svg(figure, "A sweep's table and charts")


def _table(axes: object, found: list[Run], palette: Palette, title: str) -> None:
    header, rows = table(found)
    columns = [header.index(name) for name in SHOWN]
    axes.axis("off")
    axes.set_title(title, loc="left", fontsize=11)
    cells = [[str(row[column]) for column in columns] for row in rows]
    drawn = axes.table(cells, colLabels=SHOWN, loc="center", cellLoc="left", edges="B")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(11)
    drawn.auto_set_column_width(range(len(columns)))
    drawn.scale(1, 1.75)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_edgecolor(palette.grid)
        if row <= 1:
            cell.set_text_props(fontweight="bold")
