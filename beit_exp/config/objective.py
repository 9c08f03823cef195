"""The metric that a run is to make good."""

from __future__ import annotations


def is_lower_better(name: str) -> bool:
    """Whether the metric is a loss: all others are accuracies."""
    return name.endswith("loss")
