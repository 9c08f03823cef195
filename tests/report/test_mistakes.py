from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beit_exp.data.listing import ImageList, list_classes
from beit_exp.report.mistakes import mistaken_labels, most_wrong, plot_outcomes
from beit_exp.report.multi_label import MultiLabelOutcomes
from beit_exp.report.outcomes import Outcomes


def outcomes(labels: list[int], predicted: list[int]) -> Outcomes:
    share = np.linspace(0.4, 0.1, len(labels)).astype(np.float32)
    return Outcomes(np.array(labels), np.array(predicted), 1 - share, share)


def test_most_wrong_images_are_the_least_expected() -> None:
    assert most_wrong(outcomes([0, 1, 2, 3], [0, 2, 2, 1])).tolist() == [3, 1]


@pytest.mark.parametrize("num_classes", [3, 60])
@pytest.mark.parametrize("shift", [0, 1])
def test_outcomes_are_drawn_for_few_and_many_classes(
    num_classes: int, shift: int, few_digits: Path, tmp_path: Path
) -> None:
    found = list_classes(few_digits / "val")
    labels = np.arange(50) % num_classes
    images = ImageList(
        found.paths, labels.astype(np.int32), [f"class {n}" for n in range(num_classes)]
    )
    plot_outcomes(
        outcomes(labels.tolist(), ((labels + shift) % num_classes).tolist()), images, tmp_path
    )
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {"confusion.png", "mistakes.png", "reliability.png"}
    assert all(Image.open(path).width > 500 for path in tmp_path.iterdir())


def test_labels_that_are_missed_or_not_there_are_told_the_most_wrong_first(
    few_digits: Path, tmp_path: Path
) -> None:
    labels = np.array([[1, 0], [0, 0], [1, 1]], np.uint8)
    shares = np.array([[0.3, 0.6], [0.1, 0.95], [0.9, 0.8]], np.float32)
    found = MultiLabelOutcomes(labels, shares)
    images, titles = mistaken_labels(found, ["cat", "dog"])
    assert titles == ["not dog, 95 %", "cat missed, 30 %", "not dog, 60 %"]
    assert images == [1, 0, 0]
    paths = list_classes(few_digits / "val").paths[:3]
    plot_outcomes(found, ImageList(paths, labels, ["cat", "dog"]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mistakes.png"]
