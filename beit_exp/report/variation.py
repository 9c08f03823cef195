"""What was varied between runs, and what repetitions of a choice say of it: seeds and folds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

from beit_exp.report.runs import Run, differing_keys

REPEATS = {"seed": "seeds", "dataset.fold": "folds"}  # what repeats a run with other chances
# Where to read and write, and how often to look: shown in the table, nothing to plot against
OBSERVING = (
    "train.log_every_steps",
    "train.eval_every_epochs",
    "train.save_every_epochs",
    "train.keep_checkpoints",
    "train.checkpoint_url",
    "tracking.",
    "benchmark.",
    "export.",
    "checkpoint",
    "images",
    "objective",
)


class Choice(NamedTuple):
    """What was chosen for the varied keys, and the results of the runs that chose it."""

    values: tuple[Any, ...]
    runs: list[Run]
    scores: list[float]  # the best of each run

    @property
    def mean(self) -> float:
        """Of the runs' best results."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the population that they are a sample of; None for one run."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


def value_of(run: Run, key: str) -> Any:
    """A setting, or the option chosen of a group of them; "" if the run tells neither."""
    return run.settings[key] if key in run.settings else run.choices.get(key, "")


def table_keys(runs: list[Run]) -> list[str]:
    """What to show of each run: of a sweep the swept keys, otherwise the settings that differ.

    A group that was swept (`optimizer`) stands for the settings that follow from its options.
    """
    swept = swept_keys(runs)
    differing = differing_keys(runs)
    return swept + [key for key in differing if key not in swept and not _follows(key, swept, runs)]


def varied_keys(runs: list[Run]) -> list[str]:
    """Of those, what a result can be plotted against: no repetitions, and no intervals."""
    keys = swept_keys(runs) or [
        key for key in differing_keys(runs) if not key.startswith(OBSERVING)
    ]
    return [key for key in keys if key not in REPEATS]


def repeated_by(runs: list[Run]) -> str:
    """What repetitions of the runs differ in, as a word: seeds, folds, or both."""
    differing = differing_keys(runs)
    return " and ".join(word for key, word in REPEATS.items() if key in differing) or "runs"


def swept_keys(runs: list[Run]) -> list[str]:
    """Keys that the sweeps of all runs gave several values; none if a run belongs to none."""
    keys = dict.fromkeys(key for run in runs for key in run.choices)
    return [
        key
        for key in keys
        if all(key in run.choices for run in runs)
        and len({repr(value_of(run, key)) for run in runs}) > 1
    ]


def by_choice(runs: Iterable[Run], keys: list[str]) -> list[Choice]:
    """The runs with a result, those of one choice together, in the order of their first runs."""
    found: dict[str, Choice] = {}
    for run in runs:
        if run.best is not None:
            values = tuple(value_of(run, key) for key in keys)
            choice = found.setdefault(repr(values), Choice(values, [], []))
            choice.runs.append(run)
            choice.scores.append(run.best[0])
    return list(found.values())


def are_repeated(choices: list[Choice]) -> bool:
    """Whether any was run more than once."""
    return any(len(choice.runs) > 1 for choice in choices)


def _follows(key: str, swept: list[str], runs: list[Run]) -> bool:
    known = [run for run in runs if run.settings]
    for cause in swept:
        pairs = {(repr(value_of(run, cause)), repr(run.settings.get(key))) for run in known}
        if len(pairs) == len({first for first, _ in pairs}):
            return True
    return False
