"""How often scores of classes find the right one."""

from __future__ import annotations

import numpy as np

TOP = (1, 5)


def accuracy(scores_NK: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """`top1` and `top5` in percent: the right class is among so many of the highest scores.

    Of equal scores the lower class comes first; one whose score is -inf is never found.
    """
    own_N1 = scores_NK[np.arange(len(labels_N)), labels_N][:, None]
    is_lower_NK = np.arange(scores_NK.shape[1])[None] < labels_N[:, None]
    before_N = ((scores_NK > own_N1) | ((scores_NK == own_N1) & is_lower_NK)).sum(axis=1)
    is_there_N = own_N1[:, 0] > -np.inf
    return {f"top{top}": 100 * float(np.mean(is_there_N & (before_N < top))) for top in TOP}
