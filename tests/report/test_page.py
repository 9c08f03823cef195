from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from beit_exp.report.__main__ import main
from beit_exp.report.page import as_html, as_markdown, as_text, duration, table
from beit_exp.report.runs import read_place


def test_table_says_what_differs_and_ranks_by_the_best_result(swept: Path) -> None:
    header, rows = table(read_place(swept))
    assert header == [
        "run",
        "optimizer.layer_decay",
        "best val/top1",
        "epoch",
        "images/s",
        "time",
        "status",
    ]
    assert [row[1:] for row in rows] == [
        [0.75, 80.0, 2.0, 200, "0:02:00", "finished"],
        [0.65, 70.0, 2.0, 150, "0:01:00", "finished"],
        [0.85, 40.0, 1.0, 100, "0:00:00", "unfinished"],
        ["", None, None, None, None, "failed (x)"],
    ]


def test_report_of_a_sweep_is_a_table_pictures_and_one_page_that_needs_nothing_else(
    swept: Path, capsys
) -> None:
    assert main([str(swept)]) == 0
    shown = capsys.readouterr().out
    assert "optimizer.layer_decay=0.75  0.75" in shown and "report.html" in shown
    folder = swept / "report"
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "table.csv", "curves.png", "response.png", "schedule.png"
    }  # fmt: skip
    rows = list(csv.reader((folder / "table.csv").open()))
    assert rows[1][:4] == ["optimizer.layer_decay=0.75", "0.75", "80.0", "2.0"]
    page = (folder / "report.html").read_text()
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(embedded) == 3 and not re.search(r'(src|href)="(?!data:)', page)
    assert all(Image.open(io.BytesIO(base64.b64decode(data))).width >= 300 for data in embedded)


def test_text_of_a_run_cannot_break_the_page_or_the_table() -> None:
    page = as_html(["run"], [["<script>"]], {}, title="a & b")
    assert "<script>" not in page and "a &amp; b" in page
    assert as_markdown(["run", "x"], [["a|b", 1.0]]) == "| run | x |\n| --- | --- |\n| a/b | 1 |"
    assert (
        as_text(["run", "x"], [["a", None], ["long", 98.6111111]])
        == "run   x\na     -\nlong  98.6111"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, None), (0.0, "0:00:00"), (59.4, "0:00:59"), (3725, "1:02:05")]
)
def test_durations_are_read_at_a_glance(seconds: float | None, text: str | None) -> None:
    assert duration(seconds) == text
