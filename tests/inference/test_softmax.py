"""Softmax and cross-entropy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from settings import GOLDEN

from beit_exp.inference.softmax import binary_cross_entropy, cross_entropy, sigmoid, softmax


def test_probabilities_are_the_definitions_and_sum_to_one_along_the_last_axis() -> None:
    scores = np.random.default_rng(0).normal(0, 3, (2, 3, 5)).astype(np.float32)
    found = softmax(scores)
    exact = np.exp(scores.astype(np.float64))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, exact / exact.sum(axis=-1, keepdims=True), rtol=1e-14)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-15)


def test_known_probabilities() -> None:
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]])), [[1 / 8, 2 / 8, 5 / 8]])


@pytest.mark.parametrize("shift", [-1e30, -1000, 1000, 1e30])
def test_no_score_overflows(shift: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(softmax(np.full((1, 4), shift)), np.full((1, 4), 0.25))
        np.testing.assert_array_equal(softmax(np.array([[0.0, 2000.0]])), [[0.0, 1.0]])
        assert cross_entropy(np.full((1, 4), shift), np.array([2]))[0] == np.log(4)


def test_the_scores_stay_as_they_are() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    softmax(scores)
    np.testing.assert_array_equal(scores, np.arange(6.0).reshape(2, 3))


def test_cross_entropy_is_minus_the_log_of_the_labels_probability() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (4, 6)).astype(np.float32)
    labels = np.array([0, 5, 2, 2])
    expected = -np.log(softmax(logits)[np.arange(4), labels])
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, rtol=1e-12)


def test_cross_entropy_stays_finite_where_the_probability_is_zero() -> None:
    logits = np.array([[0.0, 3000.0]], np.float32)
    assert softmax(logits)[0, 0] == 0
    assert cross_entropy(logits, np.array([0]))[0] == 3000


def test_a_sigmoid_is_that_of_its_definition_and_never_overflows() -> None:
    scores = np.random.default_rng(0).normal(0, 3, (2, 3)).astype(np.float32)
    expected = 1 / (1 + np.exp(-scores.astype(np.float64)))
    np.testing.assert_allclose(sigmoid(scores), expected, rtol=1e-12)
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-3000.0, 0.0, 3000.0])).tolist() == [0.0, 0.5, 1.0]


def test_binary_cross_entropy_is_minus_the_log_of_each_labels_probability() -> None:
    golden = np.load(GOLDEN / "multi_label.npz")
    found = binary_cross_entropy(golden["logits"], golden["hard"])
    shares = sigmoid(golden["logits"])
    expected = -np.log(np.where(golden["hard"] == 1, shares, 1 - shares))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert binary_cross_entropy(np.array([[3000.0]]), np.array([[0]])).tolist() == [[3000.0]]
