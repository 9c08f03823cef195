"""The objective of a run: the metric that tells which of two results is the better."""

from __future__ import annotations

WORST_LOSS = 1e6


def metric_of(objective: str) -> str:
    """The metric that every evaluation logs for an objective: `best/val/top1` -> `val/top1`."""
    return objective.removeprefix("best/")


def is_lower_better(name: str) -> bool:
    """Whether less of an objective or a metric is better: of losses, not of accuracies."""
    return name.endswith("loss")


def worst_value(objective: str) -> float:
    """What stands for a result that is missing or not finite, for searches stop at such a one."""
    return WORST_LOSS if is_lower_better(objective) else 0.0
