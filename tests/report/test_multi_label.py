from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from beit_exp.report.multi_label import MultiLabelOutcomes, join_outcomes, load_outcomes

CLASSES = ["cat", "dog", "elk", "yak"]


@pytest.fixture
def outcomes() -> MultiLabelOutcomes:
    """Sixty images: some have no label, some scores are equal, the last class has no image."""
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 4)) < [0.5, 0.2, 0.05, 0]).astype(np.uint8)
    shares = np.clip(0.4 * labels + rng.random((60, 4)), 0, 1).round(1).astype(np.float32)
    shares[:, 3] = 0.2
    return MultiLabelOutcomes(labels, shares)


def test_metrics_are_scikit_learns(outcomes: MultiLabelOutcomes) -> None:
    labels, shares = outcomes
    predicted = shares >= 0.5
    occurs = labels.any(axis=0)
    expected = {
        "map": average_precision_score(labels[:, occurs], shares[:, occurs], average="macro"),
        "macro_f1": f1_score(labels, predicted, average="macro", zero_division=np.nan),
        "micro_f1": f1_score(labels, predicted, average="micro"),
    }
    assert outcomes.metrics() == pytest.approx(
        {name: 100 * value for name, value in expected.items()}, rel=1e-6
    )


def test_a_class_that_is_predicted_but_never_there_counts_as_nothing_found() -> None:
    labels, shares = np.array([[1, 0]], np.uint8), np.array([[0.9, 0.6]], np.float32)
    found = MultiLabelOutcomes(labels, shares).metrics()
    assert found["macro_f1"] == 50 and found["map"] == 100
    nothing = MultiLabelOutcomes(np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.float32)).metrics()
    assert np.isnan(nothing["map"]) and nothing["macro_f1"] == nothing["micro_f1"] == 0


def test_the_table_has_images_f1_and_average_precision_of_each_class(
    outcomes: MultiLabelOutcomes,
) -> None:
    header, *rows = outcomes.class_table(CLASSES)
    assert header == ["class", "images", "f1", "average precision"]
    labels, shares = outcomes
    name, count, f1, precision = rows[1]
    assert (name, count) == ("dog", int(labels[:, 1].sum()))
    assert f1 == pytest.approx(100 * f1_score(labels[:, 1], shares[:, 1] >= 0.5), abs=1e-4)
    expected = average_precision_score(labels[:, 1], shares[:, 1])
    assert precision == pytest.approx(100 * expected, abs=1e-4)
    assert rows[3] == ["yak", 0, "", ""]


def test_an_image_is_told_with_its_labels_the_predicted_ones_and_their_probabilities() -> None:
    labels = np.array([[1, 0, 1, 0], [0, 0, 0, 0]], np.uint8)
    shares = np.array([[0.75, 0.5, 0.25, 0], [0, 0, 0, 0.4]], np.float32)
    assert MultiLabelOutcomes(labels, shares).rows(CLASSES) == [
        ["cat|elk", "cat|dog", "0.750000|0.500000"],
        ["", "", ""],
    ]


def test_outcomes_come_back_from_their_file_and_are_joined(
    outcomes: MultiLabelOutcomes, tmp_path: Path
) -> None:
    outcomes.save(tmp_path / "o.npz")
    found = load_outcomes(tmp_path / "o.npz")
    assert isinstance(found, MultiLabelOutcomes)
    joined = join_outcomes([found, outcomes])
    np.testing.assert_array_equal(joined.labels, np.concatenate([outcomes.labels] * 2))
