from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.report.runs import Run, read_place
from beit_exp.report.variation import by_choice, table_keys, varied_keys


def runs(**settings: tuple) -> list[Run]:
    rows = zip(*settings.values(), strict=True)
    keys = [key.replace("__", ".") for key in settings]
    return [
        Run(str(n), "finished", dict(zip(keys, row, strict=True)), [], {}, None)
        for n, row in enumerate(rows)
    ]


def test_a_swept_group_stands_for_the_settings_that_follow_from_it(seeds: Path) -> None:
    found = read_place(seeds)
    assert table_keys(found) == ["optimizer", "augment", "seed"]
    assert varied_keys(found) == ["optimizer", "augment"]


def test_intervals_and_paths_are_shown_but_nothing_is_plotted_against_them() -> None:
    found = runs(train__epochs=(1, 2), train__eval_every_epochs=(1, 2), seed=(1, 2))
    assert table_keys(found) == ["train.epochs", "train.eval_every_epochs", "seed"]
    assert varied_keys(found) == ["train.epochs"]


def test_a_soup_or_an_evaluation_is_no_repetition_of_its_training() -> None:
    found = runs(task=("finetune", "soup"), checkpoint=(None, "sweep"), seed=(1, 1))
    assert varied_keys(found) == ["task"]


def test_runs_that_differ_in_their_seed_alone_are_one_choice(seeds: Path) -> None:
    choices = by_choice(read_place(seeds), ["optimizer", "augment"])
    found = {choice.values: (choice.mean, choice.deviation) for choice in choices}
    assert found[("adamw", "light")] == (81.0, pytest.approx(2**0.5))
    assert len(found) == 4 and by_choice(read_place(seeds), ["seed"])[0].values == (1,)
