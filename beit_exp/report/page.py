"""A comparison of runs: a table, pictures, and one page of HTML that holds them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beit_exp.config.objective import is_lower_better
from beit_exp.report import markup
from beit_exp.report.folds import pool_folds, write_pooled
from beit_exp.report.intervals import COUNTED, accuracy_interval
from beit_exp.report.intervals import as_text as interval_text
from beit_exp.report.markup import Section, cell
from beit_exp.report.pairs import paired_rows, paired_section
from beit_exp.report.plots import plot_mean_curves
from beit_exp.report.responses import plot_response
from beit_exp.report.result_files import write_table
from beit_exp.report.runs import PICTURES, Run, differing_keys, ranked
from beit_exp.report.sections import (
    choice_table,
    class_rows,
    class_section,
    picture_sections,
    settings_section,
    summary_lines,
)
from beit_exp.report.variation import (
    REPEATS,
    are_repeated,
    by_choice,
    repeated_by,
    swept_keys,
    table_keys,
    value_of,
    varied_keys,
)
from beit_exp.storage.files import write_atomically

SHOWN_CURVES = 20


def table(runs: list[Run]) -> tuple[list[str], list[list[Any]]]:
    """Headings, and a row a run, the best first.

    What differs in their settings, the best result and its epoch, that of a test set, speed, time,
    status; and where runs differ in nothing but their seed or fold, mean and standard deviation of
    their best results.
    """
    keys, varied = table_keys(runs), varied_keys(runs)
    choices = by_choice(runs, varied)
    repeated = are_repeated(choices)
    means = {
        id(run): "-"
        if choice.deviation is None
        else f"{cell(choice.mean)} ± {choice.deviation:.3g}"
        for choice in choices
        for run in choice.runs
    }
    objective = f"best {runs[0].objective}"
    sure = {id(run): best_interval(run) for run in runs}
    is_counted = any(sure.values())
    tested = any(run.tested is not None for run in runs)
    header = [
        *("run", *keys, objective),
        *(["95 % interval"] if is_counted else []),
        *([f"mean ± std of {repeated_by(runs)}"] if repeated else []),
        "epoch",
        *([runs[0].objective.replace("val/", "test/")] if tested else []),
        *("images/s", "time", "status"),
    ]
    rows = []
    for run in ranked(runs):
        best, epoch = run.best or (None, None)
        row = [
            *(run.name, *(value_of(run, key) for key in keys), best),
            *([sure[id(run)]] if is_counted else []),
            *([means.get(id(run))] if repeated else []),
            epoch,
            *([run.tested] if tested else []),
            *(speed(run), duration(run.elapsed_s), run.status),
        ]
        rows.append(row)
    return header, rows


def best_interval(run: Run) -> str:
    """That of the best result, where that is a share of a known number of images."""
    seen, metric = run.validation_set, run.objective.removeprefix("val/")
    if run.best is None or seen is None or metric not in COUNTED:
        return ""
    return interval_text(accuracy_interval(run.best[0], seen["images"]))


def as_told(runs: list[Run]) -> str:
    """The table for a terminal; how the best does beside others on the same images; and, of all
    folds of the best choice, their predictions pooled.
    """
    pooled, paired = pool_folds(best_choice(runs)), paired_rows(ranked(runs))
    parts = [as_text(*table(runs))]
    parts += ["", as_text(paired[0], paired[1:]), ""] if paired else []
    return "\n".join(parts + ([f"pooled    {pooled}"] if pooled else []))


def best_choice(runs: list[Run]) -> list[Run]:
    """The runs that made the choice with the best mean, or all where nothing is repeated."""
    choices = by_choice(ranked(runs), varied_keys(runs))
    if not are_repeated(choices):
        return runs
    sign = -1 if is_lower_better(runs[0].objective) else 1
    return max(choices, key=lambda choice: sign * choice.mean).runs


def speed(run: Run) -> float | None:
    """Images a second, as exactly as one reads them."""
    found = run.images_per_s
    return None if found is None else round(found, 1 if found < 100 else None)


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


def duration(seconds: float | None) -> str | None:
    """Seconds as h:mm:ss."""
    if seconds is None:
        return None
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}:{seconds % 60:02.0f}"


def write_report(runs: list[Run], folder: Path, *, title: str) -> Path:
    """Write tables, PNGs and report.html into a folder, and return the path of the page.

    The page holds the pictures: it needs no other file. What an earlier report left goes away.
    """
    header, rows = table(runs)
    write_table(folder / "table.csv", [header, *rows])
    pictures = draw_pictures(runs, folder)
    classes = class_rows(ranked(runs))
    if classes:
        write_table(folder / "classes.csv", classes)
    else:
        (folder / "classes.csv").unlink(missing_ok=True)
    path = folder / "report.html"
    folds = write_pooled(pool_folds(best_choice(runs)), folder)
    content = as_html(runs, pictures, classes, folds, title=title)
    write_atomically(path, content.encode())
    return path


def draw_pictures(runs: list[Run], folder: Path) -> dict[str, bytes]:
    """The pictures of a report by name, in the order of the page; also files of its folder."""
    for name in ("response", "curves", *PICTURES):
        (folder / f"{name}.png").unlink(missing_ok=True)
    ranking, keys = ranked(runs), varied_keys(runs)
    drawn = []
    swept = keys or [key for key in REPEATS if key in differing_keys(runs)]
    answers = by_choice(ranking, swept)
    if len(answers) > 1:
        score = f"best {runs[0].objective}"
        plot_response(swept, answers, score=score, path=folder / "response.png")
        drawn.append("response")
    curves = curve_groups(ranking, keys)
    if curves:
        plot_mean_curves(curves, folder / "curves.png")
        drawn.append("curves")
    for name, picture in ranking[0].pictures.items():
        write_atomically(folder / f"{name}.png", picture)
        drawn.append(name)
    return {name: (folder / f"{name}.png").read_bytes() for name in drawn}


def curve_groups(ranking: list[Run], keys: list[str]) -> dict[str, list[list[dict[str, Any]]]]:
    """Name -> records of the runs that share a colour: those that differ in seed or fold alone."""
    choices = by_choice(ranking, keys)
    if not are_repeated(choices):
        with_records = [run for run in ranking if run.records][:SHOWN_CURVES]
        return {run.name: [run.records] for run in with_records}
    names = [
        ", ".join(f"{key}={cell(value)}" for key, value in zip(keys, choice.values, strict=True))
        for choice in choices
    ]
    return {
        f"{name or 'mean'} ({len(choice.runs)} runs)": [run.records for run in choice.runs]
        for name, choice in list(zip(names, choices, strict=True))[:SHOWN_CURVES]
    }


def as_html(
    runs: list[Run],
    pictures: dict[str, bytes],
    classes: list[list[Any]],
    folds: Section | None = None,
    *,
    title: str,
) -> str:
    """One self-contained page."""
    ranking, keys = ranked(runs), varied_keys(runs)
    header, rows = table(runs)
    if keys and swept_keys(runs):  # the name says what stands beside it: out of a phone's way
        header, *rows = [[*line[1:], line[0]] for line in (header, *rows)]
    has_best = len(runs) > 1 and ranking[0].best is not None
    sections = [
        Section(
            "runs",
            "Runs" if len(runs) > 1 else "Run",
            "The best first, shaded. The best value is that of the best evaluation of a run, "
            "made at that epoch; images/s is the median speed of training.",
            markup.table(header, rows, has_best=has_best),
        )
    ]
    choices = by_choice(ranking, keys)
    if are_repeated(choices):
        by = repeated_by(runs)
        sections.append(choice_table(keys, choices, objective=runs[0].objective, repeated_by=by))
    if paired := paired_rows(ranking):
        sections.append(paired_section(paired))
    sections += [folds] if folds is not None else []
    drawn = picture_sections(
        pictures, varied=len(keys), repeated=are_repeated(choices), single=len(runs) == 1
    )
    sections += [part for part in drawn if part.anchor in ("response", "curves")]
    if classes:
        sections.append(class_section(classes, ranking[0]))
    sections += [part for part in drawn if part.anchor not in ("response", "curves")]
    sections += settings_section(ranking[0])
    return markup.page(title, summary_lines(ranking), sections)
