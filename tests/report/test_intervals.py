from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from beit_exp.report.class_scores import class_scores
from beit_exp.report.intervals import (
    accuracy_interval,
    as_text,
    bootstrap,
    compare_paired,
    intervals,
)
from beit_exp.report.multi_label import MultiLabelOutcomes
from beit_exp.report.outcomes import Outcomes


def outcomes(labels, predicted) -> Outcomes:
    share = np.full(len(labels), 0.5, np.float32)
    return Outcomes(np.array(labels), np.array(predicted), share, share)


@pytest.mark.parametrize(
    ("percent", "images", "low", "high"),
    [  # Clopper and Pearson (1934); Newcombe, Statistics in Medicine 17 (1998), table I, method 5
        (100 * 81 / 263, 263, 25.27, 36.76),
        (100 * 15 / 148, 148, 5.78, 16.17),
        (0.0, 20, 0.0, 16.84),
        (100 * 1 / 29, 29, 0.09, 17.76),
    ],
)
def test_the_interval_of_an_accuracy_is_the_exact_one(percent, images, low, high) -> None:
    assert accuracy_interval(percent, images) == pytest.approx((low, high), abs=0.01)


def test_intervals_and_p_values_are_those_of_scipy_stats() -> None:
    for images, hits in ((1, 0), (1, 1), (10, 3), (360, 355), (50_000, 42_635)):
        found = binomtest(hits, images).proportion_ci(0.95, method="exact")
        expected = (100 * found.low, 100 * found.high)
        percent = 100 * hits / images
        np.testing.assert_allclose(accuracy_interval(percent, images), expected, rtol=1e-10)
    for only_first, only_second in ((0, 0), (1, 0), (4, 4), (5, 4), (30, 60), (900, 1100)):
        labels = np.zeros(only_first + only_second, int)
        first = (np.arange(len(labels)) >= only_first).astype(int)
        paired = compare_paired(outcomes(labels, first), outcomes(labels, 1 - first))
        assert paired is not None
        expected = binomtest(only_first, len(labels)).pvalue if len(labels) else 1.0
        np.testing.assert_allclose(paired.p_value, expected, rtol=1e-10)


def test_a_bootstrap_holds_what_repeated_draws_of_the_set_would_give() -> None:
    """Of images drawn from a known law the interval is as wide as the metric's own spread."""
    rng = np.random.default_rng(1)

    def draw() -> Outcomes:
        labels = rng.choice(3, 400, p=[0.6, 0.3, 0.1])
        is_right = rng.random(400) < np.array([0.9, 0.7, 0.5])[labels]
        return outcomes(labels, np.where(is_right, labels, (labels + 1) % 3))

    spread = [class_scores(*draw()[:2])["balanced_accuracy"] for _ in range(500)]
    low, high = bootstrap(draw())["balanced_accuracy"]
    assert (high - low) == pytest.approx(4 * np.std(spread), rel=0.25)
    assert low < 70 < high


def test_every_accuracy_and_f1_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    found = outcomes(labels, np.where(rng.random(200) < 0.8, labels, 0))
    metrics = found.metrics() | {"loss": 0.3, "top5": 100.0}
    sure = intervals(metrics, found)
    assert sure.keys() == metrics.keys() - {"loss"}
    assert all(low <= metrics[name] <= high for name, (low, high) in sure.items())
    has = (rng.random((200, 3)) < 0.3).astype(np.uint8)
    several = MultiLabelOutcomes(has, np.clip(0.6 * has + 0.5 * rng.random((200, 3)), 0, 1))
    sure = intervals(several.metrics(), several)
    assert sure.keys() == {"macro_f1", "micro_f1"}
    assert all(low <= several.metrics()[name] <= high for name, (low, high) in sure.items())


def test_two_networks_are_compared_by_the_images_on_which_they_differ() -> None:
    labels = np.zeros(40, int)
    first, second = np.zeros(40, int), np.zeros(40, int)
    first[:1], second[5:14] = 1, 1  # 9 images only the first has right, 1 only the second
    found = compare_paired(outcomes(labels, first), outcomes(labels, second))
    assert found is not None and (found.only_first, found.only_second) == (9, 1)
    assert found.difference == 8
    assert found.p_value == pytest.approx(2 * (1 + 10) / 2**10)  # both tails of 10 fair tosses
    same = compare_paired(outcomes(labels, first), outcomes(labels, first))
    assert same is not None and same.p_value == 1
    assert compare_paired(outcomes(labels, first), outcomes(labels + 1, second)) is None
    assert compare_paired(outcomes(labels, first), outcomes(labels[:9], first[:9])) is None


def test_an_interval_is_read_as_two_percentages() -> None:
    assert (as_text((97.204, 99.7)), as_text(None)) == ("97.20 to 99.70", "")
