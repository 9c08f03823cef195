"""What became of each image: counted by class, and in tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beit_exp.errors import UserError
from beit_exp.report.multi_label import load_outcomes
from beit_exp.report.outcomes import (
    Outcomes,
    class_table,
    confusion,
    confusion_table,
    wrong_alone,
)

CLASSES = ["cat", "dog", "cow", "elk"]  # no elk was shown
MATRIX = np.array([[2, 1, 0, 0], [0, 1, 2, 1], [0, 0, 3, 0], [0, 0, 0, 0]])


@pytest.fixture
def outcomes() -> Outcomes:
    """Of ten images, in no order."""
    labels = np.array([2, 0, 1, 1, 0, 2, 1, 0, 1, 2], np.int32)
    predicted = np.array([2, 1, 2, 1, 0, 2, 3, 0, 2, 2], np.int32)
    shares = np.linspace(0.1, 1, 10, dtype=np.float32)
    return Outcomes(labels, predicted, shares, shares[::-1])


def test_images_are_counted_by_class_and_predicted_class(outcomes: Outcomes) -> None:
    np.testing.assert_array_equal(confusion(outcomes, 4), MATRIX)


def test_what_is_wrong_is_off_the_diagonal() -> None:
    found = wrong_alone(MATRIX)
    assert found.sum() == 4 and not found.diagonal().any()
    np.testing.assert_array_equal(found + np.diag([2, 1, 3, 0]), MATRIX)


def test_the_table_of_classes_has_each_accuracy_and_the_worst_confusion() -> None:
    assert class_table(MATRIX, CLASSES) == [
        ["class", "images", "top1", "most confused with"],
        ["cat", 3, 66.6667, "dog"],
        ["dog", 4, 25.0, "cow"],
        ["cow", 3, 100.0, ""],
        ["elk", 0, "", ""],
    ]


def test_the_table_of_confusions_has_a_row_a_class() -> None:
    rows = confusion_table(MATRIX, CLASSES)
    assert rows[0] == ["class / predicted", *CLASSES]
    assert rows[2] == ["dog", 0, 1, 2, 1]
    assert len(rows) == 5


def test_outcomes_come_back_from_their_file_as_they_were(
    outcomes: Outcomes, tmp_path: Path
) -> None:
    outcomes.save(tmp_path / "val_outcomes.npz")
    found = load_outcomes(tmp_path / "val_outcomes.npz")
    for one, other in zip(found, outcomes, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["val_outcomes.npz"]


def test_a_damaged_file_of_outcomes_is_named(tmp_path: Path) -> None:
    (tmp_path / "o.npz").write_bytes(b"\xffjunk{")
    with pytest.raises(UserError, match="o.npz is damaged"):
        load_outcomes(tmp_path / "o.npz")
