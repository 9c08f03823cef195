"""Runs beside the best one, on the same images: whether the difference may be chance."""

from __future__ import annotations

from typing import Any

from beit_exp.report import markup
from beit_exp.report.intervals import compare_paired
from beit_exp.report.markup import Section
from beit_exp.report.multi_label import load_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes
from beit_exp.report.runs import Run

SHOWN = 20
HEADER = ["beside the best", "only the best right", "only this one right", "difference", "p"]


def paired_rows(ranking: list[Run]) -> list[list[Any]]:
    """A heading and a row for each other run that was evaluated on the images of the first, by the
    last evaluation of each; empty if there is none.
    """
    first, *others = [(run, _outcomes(run)) for run in ranking[: SHOWN + 1]]
    rows: list[list[Any]] = []
    if first[1] is None:
        return rows
    for run, outcomes in others:
        is_same = _digest(run) == _digest(first[0]) is not None
        found = compare_paired(first[1], outcomes) if outcomes is not None and is_same else None
        if found is not None:
            difference = 100 * found.difference / len(first[1].labels)
            rows.append(
                [
                    *(run.name, found.only_first, found.only_second),
                    *(f"{difference:+.2f} points", float(f"{found.p_value:.2g}")),
                ]
            )
    return [HEADER, *rows] if rows else []


def paired_section(rows: list[list[Any]]) -> Section:
    """The same for the page."""
    return Section(
        "paired",
        "On the same images",
        "How many validation images the best run alone has right at its last evaluation, and how "
        "many another one alone. p, by the exact test of McNemar: how often two equally good "
        "networks would differ as much; a best of many runs differs more easily by chance than "
        "p says.",
        markup.table(rows[0], rows[1:]),
    )


def _outcomes(run: Run) -> Outcomes | None:
    if run.folder is None or not (run.folder / OUTCOMES_FILE).is_file():
        return None
    found = load_outcomes(run.folder / OUTCOMES_FILE)
    return found if isinstance(found, Outcomes) else None


def _digest(run: Run) -> str | None:
    """What the validation images of a run are known by."""
    return None if run.validation_set is None else run.validation_set["digest"]
