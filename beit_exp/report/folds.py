"""Cross-validation: what all folds predicted, each image by the run that held it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from beit_exp.report import markup
from beit_exp.report.intervals import Interval, as_text, intervals
from beit_exp.report.markup import Section
from beit_exp.report.multi_label import AnyOutcomes, join_outcomes, load_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes, confusion
from beit_exp.report.plots import plot_confusion
from beit_exp.report.result_files import write_table
from beit_exp.report.runs import Run, read_classes
from beit_exp.report.sections import CLASS_SCORES
from beit_exp.tracking.records import SPLIT_FILE, read_split

FOLD, FOLDS = "dataset.fold", "dataset.folds"
PICTURE, TABLE = "out_of_fold.png", "out_of_fold.csv"


class Pooled(NamedTuple):
    """The predictions of every fold, of the last evaluation of its run."""

    outcomes: AnyOutcomes
    classes: list[str]
    folds: int
    rows: list[list[Any]]  # an image each: path, fold, label, predicted, probability

    def intervals(self) -> dict[str, Interval]:
        """Of its metrics; none where images are there several times, once for each seed."""
        is_once = len({path for path, *_ in self.rows}) == len(self.rows)
        return intervals(self.outcomes.metrics(), self.outcomes) if is_once else {}

    def __str__(self) -> str:
        found = "  ".join(f"{name} {value:.4f}" for name, value in self.outcomes.metrics().items())
        return f"{found}  ({len(self.rows)} images, each in the fold that held it out)"


def pool_folds(runs: list[Run]) -> Pooled | None:
    """The folds of one choice of settings; None unless each of them is there, once for each seed.

    Images of several seeds are counted once for each.
    """
    counts: set[int | None] = {run.settings.get(FOLDS) for run in runs}
    folds = counts.pop() if len(counts) == 1 else None
    if folds is None:
        return None
    parts = [(run.settings["seed"], run.settings[FOLD]) for run in runs]
    wanted = [(seed, fold) for seed in {seed for seed, _ in parts} for fold in range(folds)]
    if sorted(parts) != sorted(wanted) or any(map(_lacks_outcomes, runs)):
        return None
    ordered = [run for _, run in sorted(zip(parts, runs, strict=True), key=lambda pair: pair[0])]
    folders = [run.folder for run in ordered if run.folder is not None]
    outcomes = join_outcomes([load_outcomes(folder / OUTCOMES_FILE) for folder in folders])
    classes = read_classes(folders[0], int(runs[0].settings["dataset.num_classes"]))
    places = [
        (path, run.settings[FOLD])
        for run, folder in zip(ordered, folders, strict=True)
        for path, (_, split, _) in read_split(folder / SPLIT_FILE).items()
        if split == "val"
    ]
    if len(places) != len(outcomes.labels):
        return None
    told = zip(places, outcomes.rows(classes), strict=True)
    rows = [[path, fold, *row] for (path, fold), row in told]
    return Pooled(outcomes, classes, folds, rows)


def _lacks_outcomes(run: Run) -> bool:
    return run.folder is None or not all(
        (run.folder / name).is_file() for name in (OUTCOMES_FILE, SPLIT_FILE)
    )


def write_pooled(pooled: Pooled | None, folder: Path) -> Section | None:
    """A table of all predictions and a picture as files, and the part of a page; without such, what
    an earlier report left goes away.
    """
    if pooled is None:
        for name in (PICTURE, TABLE):
            (folder / name).unlink(missing_ok=True)
        return None
    write_table(
        folder / TABLE, [["path", "fold", "label", "predicted", "probability"], *pooled.rows]
    )
    header, *rows = pooled.outcomes.class_table(pooled.classes)
    rows.sort(key=lambda row: (row[2] == "", row[2]))
    sure = pooled.intervals()
    measured = [
        [name, value, as_text(sure.get(name))] for name, value in pooled.outcomes.metrics().items()
    ]
    title, picture = "Out-of-fold predictions", ""
    if isinstance(pooled.outcomes, Outcomes):
        matrix = confusion(pooled.outcomes, len(pooled.classes))
        plot_confusion(matrix, pooled.classes, folder / PICTURE)
        picture = markup.picture(title, (folder / PICTURE).read_bytes())
    return Section(
        "folds",
        title,
        f"All {len(pooled.rows)} images, each as predicted by the run of the {pooled.folds} folds "
        "that was not trained on it, at the last evaluation. "
        f"Every prediction is in {TABLE}.",
        markup.table(["of all images, %", "value", "95 % interval"], measured)
        + markup.table([*header[:2], CLASS_SCORES[header[2]], header[3]], rows, bars=2)
        + picture,
    )
