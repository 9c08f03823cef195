from __future__ import annotations

import math

import pytest

from beit_exp.train.progress import Progress, due, is_better

OLD = {"val/top1": 50.0, "val/loss": 1.0, "step": 10}


def test_due_is_every_so_often_and_at_the_end() -> None:
    assert [step for step in range(1, 8) if due(step, 3, 7)] == [3, 6, 7]


@pytest.mark.parametrize(
    ("top1", "loss", "step", "objective", "expected"),
    [
        (51.0, 2.0, 20, "val/top1", True),
        (51.0, 2.0, 20, "val/loss", False),
        (50.0, 0.5, 20, "best/val/top1", True),  # of equals the one with the lower loss
        (50.0, 1.5, 20, "val/top1", False),
        (50.0, 1.0, 20, "val/top1", True),  # and then the later step
        (math.nan, 0.5, 20, "val/top1", False),
        (50.0, math.nan, 20, "val/top1", False),
    ],
)
def test_better_is_by_the_objective_then_the_loss_then_the_step(
    top1: float, loss: float, step: int, objective: str, expected: bool
) -> None:
    found = {"val/top1": top1, "val/loss": loss, "step": step}
    assert is_better(found, OLD, objective=objective) == expected


def test_the_first_evaluation_is_the_best_so_far() -> None:
    assert is_better({"val/top1": 0.0, "val/loss": 9.0, "step": 1}, {}, objective="val/top1")


def test_evaluations_that_do_not_better_the_objective_itself_are_fruitless() -> None:
    progress = Progress()
    counted = []
    for step, (top1, loss) in enumerate(
        [(50.0, 1.0), (50.0, 0.5), (40.0, 0.4), (math.nan, 0.1), (60.0, 2.0), (60.0, 2.0)], 1
    ):
        metrics = {"val/top1": top1, "val/loss": loss}
        progress.add_evaluation(metrics, {**metrics, "step": step}, objective="val/top1")
        counted.append(progress.fruitless)
    assert counted == [0, 1, 2, 3, 0, 1]
    assert progress.best["step"] == 6  # of equals the later
