from __future__ import annotations

import numpy as np

from beit_exp.data.labels import count_classes, label_text, memberships

ONE = np.array([2, 0, 2], np.int32)
SEVERAL = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], np.uint8)


def test_a_pair_stands_for_each_class_of_each_image() -> None:
    assert [array.tolist() for array in memberships(ONE)] == [[0, 1, 2], [2, 0, 2]]
    assert [array.tolist() for array in memberships(SEVERAL)] == [[0, 0, 2], [1, 2, 0]]


def test_images_are_counted_in_each_of_their_classes() -> None:
    assert count_classes(ONE, 4).tolist() == [1, 0, 2, 0]
    assert count_classes(SEVERAL, 3).tolist() == [1, 1, 1]


def test_a_label_is_told_by_the_names_of_its_classes() -> None:
    classes = ["cat", "dog", "elk"]
    assert [label_text(label, classes) for label in ONE] == ["elk", "cat", "elk"]
    assert [label_text(label, classes) for label in SEVERAL] == ["dog|elk", "", "cat"]
