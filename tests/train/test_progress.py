from __future__ import annotations

from beit_exp.train.progress import due, is_better


def test_due_is_every_so_often_and_at_the_end() -> None:
    assert [step for step in range(1, 8) if due(step, 3, 7)] == [3, 6, 7]


def test_better_means_higher_accuracy_or_lower_loss() -> None:
    old = {"val/top1": 50.0, "val/loss": 1.0}
    assert is_better({"val/top1": 51.0, "val/loss": 2.0}, old, objective="val/top1")
    assert not is_better({"val/top1": 51.0, "val/loss": 2.0}, old, objective="val/loss")
    assert not is_better({"val/top1": 50.0, "val/loss": 0.5}, old, objective="best/val/top1")
    assert not is_better({"val/top1": float("nan"), "val/loss": 0.5}, old, objective="val/top1")
    assert is_better({"val/top1": 0.0, "val/loss": 9.0}, {}, objective="val/top1")
