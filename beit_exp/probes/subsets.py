"""Parts of labelled images, drawn by the seed: to choose on, or to learn from few."""

from __future__ import annotations

import numpy as np

from beit_exp.randomness import Stream, generator


def is_held_out(labels_N: np.ndarray, *, share: float, seed: int) -> np.ndarray:
    """(N,) bool, true for that share of each class, rounded, and one image at the least.

    A class with a single image keeps it: nothing could be learnt of it otherwise.
    """
    chosen_N = np.zeros(len(labels_N), bool)
    for label in np.unique(labels_N).tolist():
        own = np.flatnonzero(labels_N == label)
        count = min(max(1, round(share * len(own))), len(own) - 1)
        chosen_N[generator(seed, Stream.held_out, label).permutation(own)[:count]] = True
    return chosen_N


def few_of_each_class(labels_N: np.ndarray, count: int, *, draw: int, seed: int) -> np.ndarray:
    """Rising numbers of so many images of each class, or of all where it has fewer.

    A larger count of the same draw holds the smaller ones.
    """
    chosen: list[int] = []
    for label in np.unique(labels_N).tolist():
        own = np.flatnonzero(labels_N == label)
        order = generator(seed, Stream.few_shot, draw, label).permutation(own)
        chosen += order[:count].tolist()
    return np.array(sorted(chosen))
