"""How often scores of classes find the right one."""

from __future__ import annotations

import numpy as np

TOP = (1, 5)


def accuracy(scores_NK: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """`top1` and `top5` in percent: see `is_found`."""
    return in_percent(is_found(scores_NK, labels_N))


def is_found(scores_NK: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """(N, 2) bool: whether the right class has the highest score, or one of the five highest.

    Of equal scores the lower class comes first; one whose score is -inf is never found.
    """
    own_N1 = scores_NK[np.arange(len(labels_N)), labels_N][:, None]
    is_lower_NK = np.arange(scores_NK.shape[1])[None] < labels_N[:, None]
    before_N = ((scores_NK > own_N1) | ((scores_NK == own_N1) & is_lower_NK)).sum(axis=1)
    is_there_N = own_N1[:, 0] > -np.inf
    return np.stack([is_there_N & (before_N < top) for top in TOP], axis=1)


def in_percent(found_N2: np.ndarray) -> dict[str, float]:
    """`top1` and `top5` of what `is_found` tells of each image."""
    shares = 100 * found_N2.sum(axis=0) / len(found_N2)
    return {f"top{top}": float(share) for top, share in zip(TOP, shares, strict=True)}
