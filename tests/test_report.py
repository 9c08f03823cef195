"""The comparison of runs, from directories and from a store."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config
from PIL import Image

from beit_exp.config.mapping import load_config, save_config
from beit_exp.data.sources import ImageList, describe, list_classes
from beit_exp.errors import UserError
from beit_exp.report.__main__ import main
from beit_exp.report.mistakes import most_wrong, plot_outcomes
from beit_exp.report.outcomes import Outcomes
from beit_exp.report.page import as_html, as_markdown, as_text, duration, table
from beit_exp.report.plots import plot_response
from beit_exp.report.runs import Run, differing_keys, ranked, read_directory, read_place, read_value
from beit_exp.report.summary import summary
from beit_exp.tracking.mlflow_sink import sync


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


def test_a_loss_ranks_downwards(tmp_path: Path) -> None:
    for seed, top1 in ((1, (50.0, 70.0)), (2, (60.0, 80.0))):
        (tmp_path / str(seed) / "plots").mkdir(parents=True)
        write_run(tmp_path / str(seed), f"seed={seed}", "objective=val/loss", top1=top1)
    first, second = ranked(read_place(tmp_path))
    assert (first.settings["seed"], first.best, second.best) == (2, (1.2, 2.0), (1.3, 2.0))


def test_settings_that_change_no_result_are_not_compared() -> None:
    runs = [
        Run(
            str(n),
            "finished",
            {"seed": n, "tracking.run_name": n, "hardware.num_parallel_workers": n},
            [],
            {},
            None,
        )
        for n in (1, 2)
    ]
    assert differing_keys(runs) == ["seed"]


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


@pytest.mark.slow
def test_report_from_a_store_equals_that_from_directories(
    swept: Path, tmp_path: Path, capsys
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for folder in sorted(swept.glob("*0.[67]5")):
        cfg = load_config(folder / "config.yaml")
        here = cfg.model_copy(
            update={
                "tracking": cfg.tracking.model_copy(update={"uri": uri, "run_name": folder.name})
            }
        )
        save_config(here, folder / "config.yaml")
        sync(here, folder)
    (from_disk, *_), (from_store, *_) = ranked(read_place(swept)), ranked(read_stored(uri, "beit"))
    assert (
        from_store.settings["optimizer.layer_decay"] == 0.75 and from_store.best == from_disk.best
    )
    assert (from_store.name, from_store.status) == (from_disk.name, "finished")
    assert from_store.pictures == from_disk.pictures and from_store.pictures.keys() == {"schedule"}
    assert [record.get("train/loss") for record in from_store.records] == [1.0, 1 / 2, 1 / 3]
    assert main(["--store", uri, str(from_store.run_id), "--output", str(tmp_path / "out")]) == 0
    assert "80" in capsys.readouterr().out
    assert main(["--store", uri, "nothing"]) == 2
    assert "has no run and no experiment 'nothing'" in capsys.readouterr().err


def read_stored(uri: str, name: str) -> list[Run]:
    from beit_exp.report.runs import read_store

    return read_store(uri, name)


@pytest.mark.parametrize(
    "value", [3e-05, None, True, [0.9, 0.999], "adamw", "rand-m9", 1.0, {"a": "b"}, ""]
)
def test_a_parameter_is_read_back_from_its_text(value: object) -> None:
    assert read_value(str(value)) == value


def test_a_place_without_a_run_is_named(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path)]) == 2
    assert (
        f"{tmp_path} is neither a run directory (config.yaml is missing) nor"
        in capsys.readouterr().err
    )
    with pytest.raises(UserError):
        read_place(tmp_path / "nowhere")


def test_a_run_that_has_just_begun_is_a_row(tmp_path: Path) -> None:
    save_config(make_config(), tmp_path / "config.yaml")
    run = read_directory(tmp_path)
    assert (run.status, run.best, run.images_per_s, run.elapsed_s) == (
        "unfinished",
        None,
        None,
        None,
    )
    assert table([run])[1][0][-1] == "unfinished"


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["a"], [(0.1,), (0.2,)]),
        (["a"], [("x",), ("y",)]),
        (["a", "b"], [(1e-5, 0.65), (1e-3, 0.75), (1e-4, None)]),
        (["a", "b"], [("x", True), ("y", False)]),
    ],
)
def test_a_sweeps_response_is_drawn_for_numbers_and_words(
    keys: list[str], values: list, tmp_path: Path
) -> None:
    plot_response(
        keys,
        values,
        [50.0 + n for n in range(len(values))],
        score="val/top1",
        path=tmp_path / "r.png",
    )
    assert Image.open(tmp_path / "r.png").width > 500


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
    assert {path.name for path in tmp_path.iterdir()} == {"confusion.png", "mistakes.png"}
    assert all(Image.open(path).width > 500 for path in tmp_path.iterdir())


def test_a_data_set_is_known_by_its_names_and_sizes(few_digits: Path, tmp_path: Path) -> None:
    found = list_classes(few_digits / "val")
    facts = describe(found, name="digits", source="x", context="validation")
    assert (facts["images"], facts["classes"], len(facts["digest"])) == (50, 10, 32)
    elsewhere = tmp_path / "val"
    for path in found.paths:
        target = elsewhere / Path(path).relative_to(few_digits / "val")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    moved = list_classes(elsewhere)
    assert describe(moved, name="digits", source="x", context="validation") == facts
    Path(moved.paths[7]).write_bytes(b"other")
    assert (
        describe(moved, name="digits", source="x", context="validation")["digest"]
        != facts["digest"]
    )


def test_closing_summary_shows_the_last_and_the_best_result() -> None:
    records = [{"time": 0.0, "time/images_per_s": 50.0}, {"time": 3725.0}]
    metrics = {"val/top1": 97.5, "best/val/top1": 98.0, "best/epoch": 30.0}
    text = summary(metrics, records, run_dir=Path("runs/a"), uri="sqlite:///x.db", following=())
    assert text.splitlines()[0].split() == ["result", "last", "epoch", "30", "(best)"]
    assert text.splitlines()[1].split() == ["val/top1", "97.5000", "98.0000"]
    assert text.splitlines()[2].split() == ["time", "1:02:05", "50", "images/s"]
    assert "python -m beit_exp.report runs/a" in text and "imagenet" not in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, None), (0.0, "0:00:00"), (59.4, "0:00:59"), (3725, "1:02:05")]
)
def test_durations_are_read_at_a_glance(seconds: float | None, text: str | None) -> None:
    assert duration(seconds) == text
