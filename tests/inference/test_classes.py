"""From batches of images to the likeliest classes of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from mindspore import Tensor

from beit_exp.config.answers import columns
from beit_exp.inference.classes import Ranking, answer_rows, rank_classes
from beit_exp.inference.evaluate import predict_all


class Columns:
    """In a network's place: the sum of each column of an image, which knows left from right."""

    def __init__(self) -> None:
        self.sizes: set[int] = set()
        self.is_training = True

    def set_train(self, mode: bool) -> None:
        self.is_training = mode

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.add(len(images))
        return images.sum(axis=(1, 2))


def batches_of(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for begin in range(0, len(images), size):
        yield images[begin : begin + size], np.zeros(len(images[begin : begin + size]), np.int32)


@pytest.mark.parametrize("size", [3, 7, 8])
def test_logits_of_batches_stand_in_the_order_of_the_images(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 9, (7, 3, 4, 4)).astype(np.float32)
    network = Columns()
    found = predict_all(network, batches_of(images, size), batch_size=size)
    np.testing.assert_array_equal(found, images.sum(axis=(1, 2)))
    assert network.sizes == {size}  # the last batch is filled up
    assert not network.is_training
    flipped = predict_all(network, batches_of(images, size), batch_size=size, flip=True)
    np.testing.assert_array_equal(flipped, (found + found[:, ::-1]) / 2)


def test_the_five_likeliest_classes_stand_in_order_with_their_probabilities() -> None:
    shares = np.array([[3, 9, 1, 2, 8, 4, 5], [1, 2, 3, 4, 5, 6, 7]], float)
    first, second = rank_classes(
        np.log(shares).astype(np.float32), list("abcdefg"), multi_label=False
    )
    assert (first.classes, second.classes) == (list("begfa"), list("gfedc"))
    np.testing.assert_allclose(first.probabilities, np.array([9, 8, 5, 4, 3]) / 32, rtol=1e-6)
    np.testing.assert_allclose(second.probabilities, np.array([7, 6, 5, 4, 3]) / 28, rtol=1e-6)
    assert all(type(share) is float for share in first.probabilities)


def test_of_equal_classes_the_first_comes_first() -> None:
    assert rank_classes(np.zeros((1, 3), np.float32), ["a", "b", "c"], multi_label=False) == [
        Ranking(["a", "b", "c"], pytest.approx([1 / 3] * 3))
    ]


@pytest.mark.parametrize("num_classes", [1, 2, 5, 9])
def test_the_headings_are_as_many_as_the_classes_and_probabilities(num_classes: int) -> None:
    names = [str(number) for number in range(num_classes)]
    (ranking,) = rank_classes(np.zeros((1, num_classes), np.float32), names, multi_label=False)
    headings = columns(num_classes, multi_label=False)
    assert len(headings) == len(ranking.classes) + len(ranking.probabilities)
    assert headings[: len(ranking.classes)] == [
        f"class{rank + 1}" for rank in range(min(5, num_classes))
    ]
    assert headings[-1] == f"probability{min(5, num_classes)}"


def test_of_several_labels_each_has_a_probability_of_its_own_and_stands_before_the_ranking() -> (
    None
):
    logits = np.array([[0.0, 2.0, -1.0], [-3.0, -2.0, -1.0]], np.float32)
    first, second = answer_rows(logits, ["a", "b", "c"], multi_label=True)
    shares = [1 / (1 + np.exp(-value)) for value in (2.0, 0.0, -1.0)]
    assert first == ["a|b", "b", "a", "c", *(pytest.approx(share) for share in shares)]
    assert second[:4] == ["", "c", "b", "a"]
    assert columns(3, multi_label=True)[:2] == ["labels", "class1"]
    assert len(columns(3, multi_label=True)) == len(first)
