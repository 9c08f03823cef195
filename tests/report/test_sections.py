from __future__ import annotations

import pytest

from beit_exp.report import sections
from beit_exp.report.intervals import accuracy_interval
from beit_exp.report.runs import Run
from beit_exp.report.sections import CLASS_SCORES, SHOWN_CLASSES, class_section


def test_intervals_are_computed_of_the_classes_that_are_shown_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def counted(percent: float, images: int) -> tuple[float, float]:
        asked.append(percent)
        return accuracy_interval(percent, images)

    monkeypatch.setattr(sections, "accuracy_interval", counted)
    rows = [[f"class {number}", 50, 2.0 * number, ""] for number in range(SHOWN_CLASSES + 5)]
    header = ["class", "images", CLASS_SCORES["top1"], "most often taken for"]
    section = class_section([header, *rows], Run("a", "finished", {}, [], {}, None))
    assert asked == [2.0 * number for number in range(SHOWN_CLASSES)]
    assert "0.00 to 7.11" in section.content  # of none in 50: 1 - 0.025 ** (1 / 50)
