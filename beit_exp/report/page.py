"""A comparison of runs: a table, pictures, and one page of HTML that holds them all."""

from __future__ import annotations

import html
from base64 import b64encode
from pathlib import Path
from typing import Any

from beit_exp.report.plots import plot_curves, plot_response
from beit_exp.report.result_files import write_table
from beit_exp.report.runs import Run, differing_keys, ranked
from beit_exp.storage.files import write_atomically

SHOWN_CURVES = 20
TITLES = {
    "response": "What the sweep says",
    "curves": "Loss and accuracy",
    "schedule": "Learning rate per layer group, of the best run",
    "confusion": "Confusion matrix, of the best run",
    "mistakes": "Most wrong images, of the best run",
    "masked": "What the network and its tokenizer see, of the best run",
    "reconstruction": "What the tokenizer's decoder makes of its tokens, of the best run",
    "tokens": "How often each visual token occurs, of the best run",
    "batch": "An augmented batch as the network sees it, of the best run",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse }
td, th { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums } tr.best { background: #eef6ee }
img { max-width: 100% } h2 { margin-top: 2.5rem }
"""


def table(runs: list[Run]) -> tuple[list[str], list[list[Any]]]:
    """Headings, and a row a run, the best first.

    What differs in their settings, the best result and its epoch, speed, time, status.
    """
    keys = differing_keys(runs)
    objective = runs[0].objective
    header = ["run", *keys, f"best {objective}", "epoch", "images/s", "time", "status"]
    rows = []
    for run in ranked(runs):
        best, epoch = run.best or (None, None)
        values = [run.settings.get(key, "") for key in keys]
        speed = (
            None
            if run.images_per_s is None
            else round(run.images_per_s, 1 if run.images_per_s < 100 else None)
        )
        rows.append([run.name, *values, best, epoch, speed, duration(run.elapsed_s), run.status])
    return header, rows


def as_text(header: list[str], rows: list[list[Any]]) -> str:
    """Aligned columns for a terminal."""
    lines = [header, *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_markdown(header: list[str], rows: list[list[Any]]) -> str:
    """A table for MLflow's description of a run."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(text.replace('|', '/') for text in line)} |" for line in lines)


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 1 else f"{value:.6g}"


def duration(seconds: float | None) -> str | None:
    """Seconds as h:mm:ss."""
    if seconds is None:
        return None
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}:{seconds % 60:02.0f}"


def write_report(runs: list[Run], folder: Path, *, title: str) -> Path:
    """Write table.csv, PNGs and report.html into a folder, and return the path of the page.

    The page holds the pictures: it needs no other file.
    """
    header, rows = table(runs)
    write_table(folder / "table.csv", [header, *rows])
    ranking = ranked(runs)
    for name, picture in ranking[0].pictures.items():
        write_atomically(folder / f"{name}.png", picture)
    with_records = [run for run in ranking if run.records]
    if with_records:
        plot_curves(
            {run.name: run.records for run in with_records[:SHOWN_CURVES]}, folder / "curves.png"
        )
    scored = [(run, run.best[0]) for run in ranking if run.best is not None]
    keys = differing_keys([run for run, _ in scored])
    if len(scored) > 1 and len(keys) in (1, 2):
        values = [tuple(run.settings.get(key) for key in keys) for run, _ in scored]
        scores = [score for _, score in scored]
        plot_response(
            keys,
            values,
            scores,
            score=f"best {scored[0][0].objective}",
            path=folder / "response.png",
        )
    page = folder / "report.html"
    pictures = {name: folder / f"{name}.png" for name in TITLES}
    shown = {name: path.read_bytes() for name, path in pictures.items() if path.exists()}
    write_atomically(page, as_html(header, rows, shown, title=title).encode())
    return page


def table_cell(value: Any) -> str:
    """A cell of the page's table, numbers to the right."""
    kind = " class=number" if isinstance(value, int | float) else ""
    return f"<td{kind}>{html.escape(cell(value))}</td>"


def figure(title: str, png: bytes) -> str:
    """A picture of the page under its title, inside the page itself."""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<h2>{title}</h2><img alt="{title}" src="{source}">'


def as_html(
    header: list[str], rows: list[list[Any]], pictures: dict[str, bytes], *, title: str
) -> str:
    """One self-contained page."""
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    lines = []
    for place, row in enumerate(rows):
        cells = "".join(map(table_cell, row))
        lines.append(f"<tr{' class=best' if place == 0 else ''}>{cells}</tr>")
    figures = "".join(figure(TITLES[name], data) for name, data in pictures.items())
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = f"<h1>{html.escape(title)}</h1><table><tr>{heads}</tr>{''.join(lines)}</table>{figures}"
    return f'<!doctype html><html lang="en">{head}{body}</html>'
