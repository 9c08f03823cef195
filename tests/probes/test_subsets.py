from __future__ import annotations

import numpy as np

from beit_exp.probes.subsets import few_of_each_class, is_held_out

LABELS = np.array([0] * 20 + [1] * 4 + [2] + [3] * 15)


def test_a_share_of_each_class_is_held_out_and_one_image_at_the_least() -> None:
    chosen = is_held_out(LABELS, share=0.1, seed=0)
    assert np.bincount(LABELS[chosen], minlength=4).tolist() == [2, 1, 0, 2]
    assert (chosen == is_held_out(LABELS, share=0.1, seed=0)).all()
    assert (chosen != is_held_out(LABELS, share=0.1, seed=1)).any()
    most = is_held_out(LABELS, share=0.99, seed=0)
    assert np.bincount(LABELS[most], minlength=4).tolist() == [19, 3, 0, 14]


def test_few_images_of_each_class_are_among_more_of_the_same_draw() -> None:
    one, five = (few_of_each_class(LABELS, count, draw=0, seed=0) for count in (1, 5))
    assert np.bincount(LABELS[one]).tolist() == [1, 1, 1, 1]
    assert np.bincount(LABELS[five]).tolist() == [5, 4, 1, 5]
    assert set(one) < set(five) and five.tolist() == sorted(five)
    assert set(five) != set(few_of_each_class(LABELS, 5, draw=1, seed=0))
