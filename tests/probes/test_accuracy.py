from __future__ import annotations

import numpy as np

from beit_exp.probes.accuracy import accuracy


def test_the_right_class_is_found_among_the_highest_scores() -> None:
    scores = np.array([[3.0, 1, 2, 0, 0, 0, -1]] * 4)
    assert accuracy(scores, np.array([0, 1, 4, 6])) == {"top1": 25.0, "top5": 75.0}


def test_of_equal_scores_the_lower_class_comes_first() -> None:
    assert accuracy(np.zeros((10, 10)), np.arange(10)) == {"top1": 10.0, "top5": 50.0}


def test_a_class_without_a_score_is_never_found() -> None:
    scores = np.full((1, 3), -np.inf)
    assert accuracy(scores, np.array([0])) == {"top1": 0.0, "top5": 0.0}
