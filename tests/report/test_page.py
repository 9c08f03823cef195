from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from whole_runs import write_run

from beit_exp.config.mapping import load_config, save_config
from beit_exp.hardware import environment
from beit_exp.report.__main__ import main
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes
from beit_exp.report.page import as_html, as_markdown, as_text, duration, table
from beit_exp.report.runs import Run, read_place


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
    assert len(embedded) == 3 and not re.search(r'(src|href)="(?!data:|#)', page)
    assert all(Image.open(io.BytesIO(base64.b64decode(data))).width >= 300 for data in embedded)


def test_text_of_a_run_cannot_break_the_page_or_the_table() -> None:
    run = Run("<script>", "failed (<b>)", {"<i>": "<u>"}, [], {}, None)
    page = as_html([run], {}, [["<em>", "", "", ""], ["<em>", 1, 0.0, ""]], title="a & b")
    assert not re.search("<(script|b|i|u|em)>", page) and "a &amp; b" in page
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


def test_a_report_leaves_no_picture_of_an_earlier_one(swept: Path) -> None:
    (swept / "report").mkdir()
    for name in ("response.png", "masked.png"):
        (swept / "report" / name).write_bytes(b"old")
    one = next(swept.glob("*=0.75"))
    assert main([str(one), "--output", str(swept / "report")]) == 0
    page = (swept / "report" / "report.html").read_text()
    assert 'id="response"' not in page and 'id="curves"' in page
    assert {path.name for path in (swept / "report").iterdir()} == {
        "report.html", "table.csv", "curves.png", "schedule.png"
    }  # fmt: skip


def test_the_top_of_the_page_says_what_was_run_where_and_of_which_code(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"rev-parse": "0123456789abcdef", "status": " M launch.py"}
    monkeypatch.setattr(environment, "git", lambda command, *_: answers[command])
    (swept / "clone" / ".git").mkdir(parents=True)
    monkeypatch.setattr(environment, "ROOT", swept / "clone")
    tags = {"device": "CPU <1>", **environment.git_tags()}
    (next(swept.glob("*=0.75")) / "facts.json").write_text(json.dumps({"tags": tags}))
    (swept / "sweep.json").write_text(json.dumps({"swept": ["optimizer.layer_decay"]}))
    main([str(swept)])
    page = (swept / "report" / "report.html").read_text()
    shown = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert shown["runs"] == "4 (2 finished, 1 unfinished, 1 failed)"
    assert shown["best"] == "val/top1 80 at epoch 2: optimizer.layer_decay=0.75"
    assert shown["swept"] == "optimizer.layer_decay: 0.65, 0.75, 0.85, 2"
    assert (shown["device"], shown["commit"]) == ("CPU &lt;1&gt;", "0123456789ab")
    assert "changes" in shown and 'name="viewport"' in page and "prefers-color-scheme" in page


@pytest.mark.slow
def test_seeds_are_gathered_with_mean_and_standard_deviation(seeds: Path) -> None:
    header, rows = table(read_place(seeds))
    assert header[1:6] == ["optimizer", "augment", "seed", "best val/top1", "mean ± std of seeds"]
    assert [row[1:6] for row in rows[:2]] == [
        ["adamw", "light", 2, 82.0, "81 ± 1.41"], ["adamw", "light", 1, 80.0, "81 ± 1.41"]
    ]  # fmt: skip
    main([str(seeds)])
    page = (seeds / "report" / "report.html").read_text()
    assert re.search('<td>momentum</td><td>none</td><td class="number">61</td>', page)


def test_the_worst_classes_come_first_and_no_more_than_can_be_read(seeds: Path) -> None:
    from beit_exp.train.checkpoint import save_checkpoint

    names = [f"class {number}" for number in range(1000)]
    for folder in seeds.glob("*light,seed=2"):
        labels = np.arange(3000, dtype=np.int32) % 1000
        predicted = np.where((labels == 7) & (np.arange(3000) > 1000), 8, labels)
        shares = np.ones(3000, np.float32)
        Outcomes(labels, predicted, shares, shares).save(folder / OUTCOMES_FILE)
        config = load_config(folder / "config.yaml")
        many = config.dataset.model_copy(update={"name": "image_folder", "num_classes": 1000})
        save_config(config.model_copy(update={"dataset": many}), folder / "config.yaml")
        (folder / "checkpoints").mkdir()
        save_checkpoint(folder / "checkpoints" / "best.safetensors", {}, {"classes": names})
    main([str(seeds)])
    rows = list(csv.reader((seeds / "report" / "classes.csv").open()))
    assert rows[1][:4] == ["class 7", "3", "33.3333", "class 8"] and len(rows) == 1001
    page = (seeds / "report" / "report.html").read_text()
    assert len(re.findall("<td>class [0-9]+</td><td class", page)) == 20
    assert "the worst 20 of 1000 classes" in page


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(seeds: Path, browser) -> None:
    main([str(seeds)])
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((seeds / "report" / "report.html").as_uri())
    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.querySelector('table').offsetWidth]"
    )
    assert widths[0] == 400 < widths[1]


def test_of_a_sweep_over_seeds_alone_each_result_is_drawn(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        (tmp_path / f"seed={seed}" / "plots").mkdir(parents=True)
        write_run(tmp_path / f"seed={seed}", f"seed={seed}", top1=(50.0, 60.0 + seed))
    rows = table(read_place(tmp_path))[1]
    assert rows[0][:4] == ["seed=3", 3, 63.0, "62 ± 1"]
    main([str(tmp_path)])
    page = (tmp_path / "report" / "report.html").read_text()
    assert 'id="response"' in page and 'id="seeds"' in page
