from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from networks import build
from settings import TINY, make_config
from sklearn.utils.class_weight import compute_class_weight

from beit_exp.data.mixup import multi_hot_targets
from beit_exp.train.build import (
    class_weights,
    log_odds,
    positive_weights,
    start_head,
    weighted,
)
from beit_exp.train.losses import binary_cross_entropy


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


SEVERAL = (
    "augment=none",
    "dataset=image_folder",
    "dataset.data_url=x",
    "dataset.num_classes=3",
    "dataset.labels=x.csv",
    "dataset.multi_label=true",
    "objective=val/map",
)
LABELS = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 1]], np.uint8)


@pytest.mark.parametrize(
    "words", [(), ("augment.label_smoothing=0.1",), ("train.class_weights=[1,2,0.5]",)]
)
def test_the_first_logits_of_several_labels_are_the_best_that_know_no_image(words) -> None:
    cfg = make_config(*SEVERAL, *words)
    weights = positive_weights(cfg.train.class_weights, LABELS, num_classes=3)
    targets = multi_hot_targets(LABELS, smoothing=cfg.augment.label_smoothing)

    def loss(logits: Tensor) -> Tensor:
        every = logits.broadcast_to((5, 3))
        return binary_cross_entropy(every, Tensor(targets), Tensor(weights), gamma=0.0)

    gradient = ms.grad(loss)(Tensor(log_odds(cfg, LABELS)[None]))
    np.testing.assert_allclose(gradient.asnumpy(), 0, atol=2e-6)


def test_a_label_that_all_images_have_or_none_begins_with_finite_logits() -> None:
    found = log_odds(make_config(*SEVERAL), np.array([[1, 0, 1], [1, 0, 0]], np.uint8))
    np.testing.assert_allclose(found, [np.log(3), -np.log(3), 0], rtol=1e-6)


def test_the_head_begins_with_the_shares_of_several_labels_alone() -> None:
    several, one = make_config(*SEVERAL), make_config()
    network = build(*TINY, *SEVERAL)
    start_head(network, one, np.array([0, 1]))
    assert not network.head.bias.asnumpy().any()
    start_head(network, several, LABELS)
    np.testing.assert_array_equal(network.head.bias.asnumpy(), log_odds(several, LABELS))


def test_a_label_of_all_images_or_of_none_has_a_finite_balanced_weight() -> None:
    labels = np.array([[1, 0], [1, 0], [1, 0]], np.uint8)
    np.testing.assert_allclose(positive_weights("balanced", labels, num_classes=2), [0.2, 5.0])
    cfg = make_config(*SEVERAL, "dataset.num_classes=2", "train.class_weights=balanced")
    np.testing.assert_allclose(log_odds(cfg, labels), 0, atol=1e-6)
