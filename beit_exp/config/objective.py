"""The objective of a run: the metric that tells which of two results is the better."""

from __future__ import annotations

import math
from collections.abc import Mapping

WORST_LOSS = 1e6


def metric_of(objective: str) -> str:
    """The metric that every evaluation logs for an objective: `best/val/top1` -> `val/top1`."""
    return objective.removeprefix("best/")


def is_lower_better(name: str) -> bool:
    """Whether less of an objective or a metric is better: of losses, not of accuracies."""
    return name.endswith("loss")


def rank(evaluation: Mapping[str, float], objective: str) -> tuple[float, float, float]:
    """Of two evaluations of a run the better has the larger rank.

    It is the better by the objective; of equals the one with the lower loss, then the later step.
    An evaluation has its metrics by name, and its `step`; one that is not finite comes last.
    """
    name = metric_of(objective)
    value = -evaluation[name] if is_lower_better(name) else evaluation[name]
    loss = evaluation.get("val/loss", 0.0)
    finite = -math.inf if math.isnan(value) else value, -math.inf if math.isnan(loss) else -loss
    return (*finite, evaluation["step"])


def worst_value(objective: str) -> float:
    """What stands for a result that is missing or not finite, for searches stop at such a one."""
    return WORST_LOSS if is_lower_better(objective) else 0.0
