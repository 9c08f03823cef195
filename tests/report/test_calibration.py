from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve

from beit_exp.report.calibration import bin_sums, calibration_error, plot_reliability
from beit_exp.report.outcomes import Outcomes


def outcomes(is_right, probability) -> Outcomes:
    labels = np.zeros(len(is_right), int)
    shares = np.array(probability, np.float32)
    return Outcomes(labels, 1 - np.array(is_right, int), shares, shares)


def test_the_error_is_the_distance_of_accuracy_and_probability_weighted_by_images() -> None:
    found = outcomes([1, 0, 1, 1], [0.9, 0.9, 0.5, 0.5])
    # Two bins of two images: 0.5 right at 0.9, and 1.0 right at 0.5
    assert calibration_error(found) == pytest.approx((40 + 50) / 2, rel=1e-6)
    assert calibration_error(outcomes([1, 1], [1.0, 1.0])) == 0


def test_the_bins_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(500).astype(np.float32)
    is_right = rng.random(500) < probability**2
    counts, right, sums = bin_sums(outcomes(is_right, probability))
    accuracy, mean = calibration_curve(is_right, probability, n_bins=15)
    np.testing.assert_allclose(right[counts > 0] / counts[counts > 0], accuracy, rtol=1e-9)
    np.testing.assert_allclose(sums[counts > 0] / counts[counts > 0], mean, rtol=1e-6)
    assert counts.sum() == 500


def test_the_least_and_the_largest_probability_are_in_a_bin() -> None:
    counts, _, _ = bin_sums(outcomes([1, 1, 1], [0.0, 0.06, 1.0]))
    assert (counts[0], counts[-1]) == (2, 1)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    plot_reliability(outcomes([1, 0, 1], [0.9, 0.4, 0.6]), tmp_path / "r.png")
    assert Image.open(tmp_path / "r.png").width > 300
