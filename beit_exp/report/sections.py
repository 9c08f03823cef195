"""The parts of a report's page: what they hold and how they are to be read."""

from __future__ import annotations

import html
from collections import Counter
from datetime import datetime
from typing import Any

from beit_exp.hardware.environment import COMMIT_TAG, DIRTY_TAG
from beit_exp.report import markup
from beit_exp.report.intervals import accuracy_interval, as_text
from beit_exp.report.markup import Section, cell
from beit_exp.report.multi_label import load_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE
from beit_exp.report.runs import Run, read_classes
from beit_exp.report.variation import Choice, swept_keys, table_keys, value_of

SHOWN_CLASSES = 20
COMPARED = 3  # runs whose classes stand side by side
SHOWN_VALUES = 8
CAPTIONS = {  # name of a picture -> heading, caption
    "response": (
        "What the varied settings do",
        "The best result of each choice.",
    ),
    "curves": (
        "Loss and accuracy",
        "Over the epochs; a dot is an evaluation. A training loss that falls while "
        "the validation loss rises means that the network learns by heart.",
    ),
    "schedule": (
        "Learning rate",
        "Over the epochs, a line a group of layers; the legend says by which factor a group's "
        "rate differs from the head's.",
    ),
    "confusion": (
        "Confusions",
        "Rows are the classes of the validation images, columns what was predicted; the diagonal "
        "is right. Of many classes, the most frequent confusions alone.",
    ),
    "mistakes": (
        "Most wrong images",
        "Validation images whose class the network expected least. “5, not 9, 80 %”: a 5 that was "
        "taken for a 9, with a probability of 80 %. “9 missed, 3 %”, where an image may have "
        "several: it has a 9, whose probability is 3 %.",
    ),
    "reliability": (
        "Calibration",
        "Validation images by the probability of the predicted class. Below the dotted line the "
        "network is right less often than it says. The error is the mean distance from the line.",
    ),
    "masked": (
        "What the network and its tokenizer see",
        "Images, what was hidden of them, and the tokens to be found.",
    ),
    "reconstruction": (
        "What the tokenizer's decoder makes of its tokens",
        "Validation images above what was decoded: the nearer, the better.",
    ),
    "tokens": (
        "Use of the visual tokens",
        "How often each occurs, by frequency; a flat line would be an even use.",
    ),
    "batch": (
        "A batch as the network sees it",
        "Training images after augmentation, each with its class; of mixed images, the two classes "
        "with the largest shares. Of several labels an image, all of them.",
    ),
}
CLASS_SCORES = {"top1": "accuracy, %", "f1": "F1, %"}  # of a class, by its name in tables
IN_A_MAP = " Brighter is better; a cell without a colour has no result."
REPEATED = (
    " Bars, bands and what follows ± are one standard deviation over runs that differ in their "
    "seed or fold alone."
)


def summary_lines(ranking: list[Run]) -> list[tuple[str, str]]:
    """(name, HTML): how many runs, the best, what was varied, when, on what, of which code."""
    kinds = Counter(run.status.split(" ")[0] for run in ranking)
    states = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    lines = [("runs", f"{len(ranking)} ({states})")]
    best = ranking[0]
    if best.best is not None:
        value, epoch = best.best
        lines.append(
            ("best", f"{best.objective} {cell(value)} at epoch {cell(epoch)}: {best.name}")
        )
    swept = swept_keys(ranking)
    keys = swept or table_keys(ranking)
    varied = "; ".join(f"{key}: {_values(ranking, key)}" for key in keys[:SHOWN_VALUES])
    if varied:
        more = f" and {len(keys) - SHOWN_VALUES} more" if len(keys) > SHOWN_VALUES else ""
        lines.append(("swept" if swept else "differ in", varied + more))
    times = [record["time"] for run in ranking for record in run.records if "time" in record]
    if times:
        lines.append(("when", f"{_clock(min(times))} to {_clock(max(times))}"))
    lines += [("device", text) for text in _tags(ranking, "device")]
    lines += [("commit", text[:12]) for text in _tags(ranking, COMMIT_TAG)]
    if "true" in _tags(ranking, DIRTY_TAG):
        lines.append(("changes", "some of the code was not committed"))
    return [(name, html.escape(text)) for name, text in lines]


def _tags(runs: list[Run], name: str) -> list[str]:
    """The values of a tag that the runs have."""
    tags = [run.facts.get("tags", {}) for run in runs]
    return list(dict.fromkeys(str(found[name]) for found in tags if name in found))


def _values(runs: list[Run], key: str) -> str:
    values = list({repr(value_of(run, key)): value_of(run, key) for run in runs}.values())
    if all(isinstance(value, int | float) for value in values):
        values.sort()
    shown = ", ".join(cell(value) for value in values[:SHOWN_VALUES] if value != "")
    return shown + (", ..." if len(values) > SHOWN_VALUES else "")


def _clock(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).strftime("%Y-%m-%d %H:%M")


def choice_table(
    keys: list[str], choices: list[Choice], *, objective: str, repeated_by: str
) -> Section:
    """Mean and deviation of each choice, in the order given."""
    header = [*keys, f"mean best {objective}", "std", "n"]
    rows = [
        [*choice.values, choice.mean, _rounded(choice.deviation), len(choice.runs)]
        for choice in sorted(choices, key=lambda choice: choice.mean, reverse=True)
    ]
    if objective.endswith("loss"):
        rows.reverse()
    return Section(
        "seeds",
        f"Means over {repeated_by}",
        f"Mean and standard deviation of the best results of n runs that differ in their "
        f"{repeated_by} alone. A difference smaller than the deviations may be chance.",
        markup.table(header, rows, has_best=len(rows) > 1),
    )


def _rounded(deviation: float | None) -> float | None:
    return None if deviation is None else float(f"{deviation:.3g}")


def class_rows(ranking: list[Run]) -> list[list[Any]]:
    """A heading and a row a class, the worst first, of the best run; then other runs' accuracies.

    Empty if the best run left no outcomes.
    """
    tables = [(run, _classes_of(run)) for run in ranking[:COMPARED]]
    first = tables[0][1]
    if not first:
        return []
    others = [
        (run, {row[0]: row[2] for row in found[1:]})
        for run, found in tables[1:]
        if found and found[0][2] == first[0][2]  # accuracies beside accuracies
    ]
    header, *rows = first
    rows.sort(key=lambda row: (row[2] == "", row[2]))
    return [
        [*header[:2], CLASS_SCORES[header[2]], header[3], *(run.name for run, _ in others)],
        *([*row, *(found.get(row[0], "") for _, found in others)] for row in rows),
    ]


def _classes_of(run: Run) -> list[list[Any]]:
    if run.folder is None or not (run.folder / OUTCOMES_FILE).exists() or not run.settings:
        return []
    names = read_classes(run.folder, int(run.settings["dataset.num_classes"]))
    return load_outcomes(run.folder / OUTCOMES_FILE).class_table(names)


def class_section(classes: list[list[Any]], best: Run) -> Section:
    """Accuracy per class: the worst classes of the best run, and the same ones in the next runs."""
    header, *rows = classes
    has_others = len(header) > 4
    count = f"the worst {SHOWN_CLASSES} of {len(rows)} classes" if len(rows) > SHOWN_CLASSES else ""
    worst = rows[:SHOWN_CLASSES]
    shown = [
        [round(value, 1) if isinstance(value, float) else value for value in row] for row in worst
    ]
    if header[2] == CLASS_SCORES["top1"]:
        header = [*header[:3], "95 % interval", *header[3:]]
        sure = [as_text(accuracy_interval(row[2], row[1])) if row[1] else "" for row in worst]
        shown = [[*row[:3], text, *row[3:]] for row, text in zip(shown, sure, strict=True)]
    return Section(
        "classes",
        f"{header[2].removesuffix(', %').capitalize()} per class",
        f"Of {best.name}, on the validation images of its last evaluation, the worst first"
        f"{f': {count}; all are in classes.csv' if count else ''}."
        + (" The columns to the right: the same classes in the next runs." if has_others else ""),
        markup.table(header, shown, bars=2),
    )


def picture_sections(
    pictures: dict[str, bytes], *, varied: int, repeated: bool, single: bool
) -> list[Section]:
    """A section a picture, `varied` being the number of settings that were varied.

    Of several runs, all but the response and the curves show the best one.
    """
    sections = []
    for name, png in pictures.items():
        title, caption = CAPTIONS[name]
        is_of_all = name in ("response", "curves")
        if name == "response" and varied == 2:
            caption += IN_A_MAP
        if is_of_all and repeated:
            caption += REPEATED
        if not is_of_all and not single:
            caption += " Of the best run."
        sections.append(Section(name, title, caption, markup.picture(title, png)))
    return sections


def settings_section(run: Run) -> list[Section]:
    """All settings of a run but for those of its tracking, to be unfolded."""
    rows = [
        [key, str(value)] for key, value in run.settings.items() if not key.startswith("tracking.")
    ]
    if not rows:
        return []
    content = markup.table(["setting", "value"], rows)
    shown = f"<details><summary>{html.escape(run.name)}</summary>{content}</details>"
    return [Section("settings", "Settings", "", shown)]
