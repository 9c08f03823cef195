from __future__ import annotations

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from beit_exp.train.build import class_weights, positive_weights, weighted


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(5), (120, 40, 25, 10, 5))
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    found = class_weights("balanced", labels, num_classes=5)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_weights_are_those_of_the_list_or_one() -> None:
    labels = np.array([0, 1])
    assert class_weights([1, 2.5], labels, num_classes=2).tolist() == [1, 2.5]
    assert class_weights(None, labels, num_classes=2) is None


def test_a_class_without_images_weighs_nothing() -> None:
    assert class_weights("balanced", np.array([0, 0, 2]), num_classes=3).tolist() == [0.5, 0, 1]


def test_without_smoothing_a_weight_is_a_factor_of_its_share_of_the_target() -> None:
    targets, weights = np.array([[0.3, 0.7], [1.0, 0.0]], np.float32), np.array([2.0, 5.0])
    np.testing.assert_allclose(
        weighted(targets, weights, smoothing=0.0), targets * weights, rtol=1e-6
    )


def test_a_weight_moves_no_image_to_another_class() -> None:
    """With all of an image's loss times its class's weight, its best answer stays the smoothed."""
    weights, smoothing = np.array([0.51, 25.0]), 0.1
    targets = np.array([[0.95, 0.05], [0.05, 0.95]], np.float32)
    found = weighted(targets, weights, smoothing=smoothing)
    np.testing.assert_allclose(found, targets * weights[:, None], rtol=1e-6)
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), targets, rtol=1e-6)


def test_a_balanced_label_costs_as_much_where_it_is_as_where_it_is_not() -> None:
    labels = np.array([[1, 0], [0, 0], [0, 0], [1, 1], [0, 0]], np.uint8)
    assert positive_weights("balanced", labels, num_classes=2).tolist() == [1.5, 4.0]
    assert positive_weights([2.0, 0.5], labels, num_classes=2).tolist() == [2.0, 0.5]
    assert positive_weights(None, labels, num_classes=2).tolist() == [1.0, 1.0]
