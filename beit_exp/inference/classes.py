"""The likeliest classes of images, from logits."""

from __future__ import annotations

import numpy as np

TOP = 5


def columns(num_classes: int) -> list[str]:
    """Names of what `rank_classes` gives for an image."""
    ranks = range(1, min(TOP, num_classes) + 1)
    return [*(f"class{rank}" for rank in ranks), *(f"probability{rank}" for rank in ranks)]


def rank_classes(logits: np.ndarray, classes: list[str]) -> list[list[str | float]]:
    """For each image of (B, K) logits the five likeliest classes and then their probabilities."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    found: list[list[str | float]] = []
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[: min(TOP, len(row))]
        found.append([*(classes[index] for index in best), *(float(row[index]) for index in best)])
    return found
