from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.report.__main__ import main
from beit_exp.report.page import as_html, as_markdown, as_text, duration, table
from beit_exp.report.runs import read_place


def write_run(folder: Path, *overrides: str, top1: tuple[float, ...], is_done: bool = True) -> None:
    """A run directory as a run leaves it, with an evaluation an epoch."""
    save_config(make_config(*overrides), folder / "config.yaml")
    records = []
    for epoch, value in enumerate(top1, start=1):
        record = {"step": 10 * epoch, "epoch": float(epoch), "time": 1000.0 + 60 * epoch}
        records.append({**record, "train/loss": 1 / epoch, "time/images_per_s": 100.0 * epoch})
        records.append({**record, "val/top1": value, "val/top5": 90.0, "val/loss": 2 - value / 100})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if is_done:
        (folder / "metrics.json").write_text("{}")
    Image.new("RGB", (300, 200)).save(
        (folder / "plots" / "schedule.png").open("wb")
    ) if top1 else None


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """Three finished jobs, one still at work, one that never started."""
    for decay, top1 in ((0.65, (50.0, 70.0)), (0.75, (60.0, 80.0, 75.0)), (0.85, (40.0,))):
        folder = tmp_path / "sweep" / f"optimizer.layer_decay={decay}"
        (folder / "plots").mkdir(parents=True)
        write_run(
            folder,
            f"optimizer.layer_decay={decay}",
            "tracking.run_name=x",
            top1=top1,
            is_done=decay != 0.85,
        )
    refused = tmp_path / "sweep" / "optimizer.layer_decay=2"
    refused.mkdir()
    (refused / "failed.json").write_text(
        json.dumps({"exit_status": 2, "message": "1 setting is wrong:\n  x"})
    )
    return tmp_path / "sweep"


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
        ["", None, None, None, None, "failed (1 setting is wrong:)"],
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
