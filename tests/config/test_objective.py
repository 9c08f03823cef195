"""Which of two results is the better, for every objective that a run may have."""

from __future__ import annotations

from typing import get_args

import pytest

from beit_exp.config.objective import is_lower_better, metric_of, worst_value
from beit_exp.config.schema import Config

OBJECTIVES = get_args(Config.model_fields["objective"].annotation)


def test_of_all_objectives_the_loss_alone_is_better_low() -> None:
    assert [name for name in OBJECTIVES if is_lower_better(name)] == ["val/loss"]


def test_an_objective_is_a_metric_that_evaluations_log() -> None:
    assert {metric_of(name) for name in OBJECTIVES} == {
        "val/top1",
        "val/top5",
        "val/loss",
        "val/balanced_accuracy",
        "val/macro_f1",
        "val/micro_f1",
        "val/map",
        "val/masked_accuracy",
        "val/knn_top1",
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_missing_result_is_worse_than_a_bad_one(name: str) -> None:
    bad = 100.0 if is_lower_better(name) else 0.1
    assert (worst_value(name) > bad) == is_lower_better(name)
