from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from whole_runs import write_run

from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes
from beit_exp.report.page import as_told, table, write_report
from beit_exp.report.pairs import paired_rows
from beit_exp.report.runs import ranked, read_place

LABELS = np.arange(50) % 5


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two runs on the same 50 validation images, one with 45 of them right, the other with 38."""
    for name, wrong, top1 in (("a", range(5), 90.0), ("b", range(3, 15), 76.0)):
        job = tmp_path / "sweep" / name
        (job / "plots").mkdir(parents=True)
        write_run(job, top1=(50.0, top1))
        found = [{"context": "validation", "images": 50, "digest": "same"}]
        (job / "facts.json").write_text(json.dumps({"datasets": found}))
        predicted = LABELS.copy()
        predicted[list(wrong)] += 1
        share = np.full(50, 0.5, np.float32)
        Outcomes(LABELS, predicted, share, share).save(job / OUTCOMES_FILE)
    return tmp_path / "sweep"


def test_the_best_run_stands_beside_each_other_one_on_the_same_images(pair: Path) -> None:
    header, row = paired_rows(ranked(read_place(pair)))
    assert header[1:3] == ["only the best right", "only this one right"]
    assert row[:4] == ["b", 10, 3, "+14.00 points"] and row[4] == pytest.approx(0.092, abs=1e-3)
    assert "only the best right" in as_told(read_place(pair))
    page = write_report(read_place(pair), pair / "report", title="x").read_text()
    assert "On the same images" in page and "+14.00 points" in page


def test_the_best_accuracy_stands_with_its_interval(pair: Path) -> None:
    header, rows = table(read_place(pair))
    place = header.index("95 % interval")
    assert header[place - 1] == "best val/top1"
    assert [row[place] for row in rows] == ["78.19 to 96.67", "61.83 to 86.94"]
    page = write_report(read_place(pair), pair / "report", title="x").read_text()
    assert "55.50 to 99.75" in page  # of the worst class, 9 of 10


def test_runs_on_other_images_are_not_compared(pair: Path) -> None:
    told = {"datasets": [{"context": "validation", "images": 50, "digest": "other"}]}
    (pair / "b" / "facts.json").write_text(json.dumps(told))
    assert paired_rows(ranked(read_place(pair))) == []
    (pair / "a" / OUTCOMES_FILE).unlink()
    assert paired_rows(ranked(read_place(pair))) == []
    assert paired_rows(ranked(read_place(pair))[:1]) == []
