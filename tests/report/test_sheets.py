from __future__ import annotations

import numpy as np
from PIL import ImageFont

from beit_exp.data.mixup import multi_hot_targets, soft_targets
from beit_exp.report.sheets import (
    CELL,
    FONT_SIZE,
    TITLE_LINES,
    multi_label_titles,
    target_titles,
    wrapped,
)


def test_an_image_is_titled_with_its_class_and_a_mixed_one_with_two() -> None:
    plain = soft_targets(np.array([0, 2, 1]), num_classes=3, smoothing=0.1)
    other = soft_targets(np.array([0, 1, 1]), num_classes=3, smoothing=0.1)
    titles = target_titles(0.3 * plain + 0.7 * other, ["cat", "dog", "elk"], smoothing=0.1)
    assert titles == ["cat", "dog: 70 %, elk: 30 %", "dog"]


def test_with_two_classes_the_share_of_smoothing_is_not_taken_for_a_mixture() -> None:
    targets = soft_targets(np.array([1]), num_classes=2, smoothing=0.2)
    assert target_titles(targets, ["a", "b"], smoothing=0.2) == ["b"]


def test_a_title_fits_its_cell_and_keeps_its_end() -> None:
    font = ImageFont.load_default(FONT_SIZE)
    assert wrapped("5, not 9, 80 %", font) == ["5, not 9, 80 %"]
    for names in (("n01440764", "n01443537"), ("a very long class " * 5, "another one " * 9)):
        lines = wrapped(f"{names[0]}, not {names[1]}, 80 %", font)
        assert len(lines) == TITLE_LINES and lines[1].endswith("80 %")
        assert all(font.getlength(line) <= CELL for line in lines)


def test_all_labels_of_an_image_are_named_those_of_a_mixed_one_with_their_shares() -> None:
    plain = multi_hot_targets(np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]]), smoothing=0.1)
    mixed = np.stack([plain[0], 0.3 * plain[0] + 0.7 * plain[1], plain[2]])
    titles = multi_label_titles(mixed, ["cat", "dog", "elk"], smoothing=0.1)
    assert titles == ["cat, elk", "cat, dog: 70 %, elk: 30 %", "no label"]
