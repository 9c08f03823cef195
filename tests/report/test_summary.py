from __future__ import annotations

import shlex
from pathlib import Path

from beit_exp.report.summary import summary


def test_closing_summary_shows_the_last_and_the_best_result() -> None:
    records = [{"time": 0.0, "time/images_per_s": 50.0}, {"time": 3725.0}]
    metrics = {"val/top1": 97.5, "best/val/top1": 98.0, "best/epoch": 30.0}
    text = summary(metrics, records, run_dir=Path("runs/a"), uri="sqlite:///x.db", following=())
    assert text.splitlines()[0].split() == ["result", "last", "epoch", "30", "(best)"]
    assert text.splitlines()[1].split() == ["val/top1", "97.5000", "98.0000"]
    assert text.splitlines()[2].split() == ["time", "1:02:05", "50", "images/s"]
    assert "python -m beit_exp.report runs/a" in text and "imagenet" not in text


def test_the_test_set_stands_below_the_best() -> None:
    metrics = {"val/top1": 97.5, "best/val/top1": 98.0, "test/balanced_accuracy": 96.25}
    text = summary(metrics, [], run_dir=Path("a"), uri="sqlite:///x.db", following=())
    val, test = text.splitlines()[1:3]
    assert test.split() == ["test/balanced_accuracy", "96.2500"] and len(test) == len(val)


def test_the_summary_names_classes_of_which_nothing_was_found() -> None:
    metrics, missed = {"val/balanced_accuracy": 50.0}, ["ant", "bee", "cat", "dog", "elk", "fox"]
    text = summary(
        metrics, [], run_dir=Path("a"), uri="sqlite:///x.db", following=(), missed=missed
    )
    assert "no image of ant, bee, cat, dog, elk and 1 more was found" in text
    heading, line = text.splitlines()[:2]
    assert heading.index("last") + len("last") == line.index("50.0000") + len("50.0000")


def test_closing_commands_can_be_pasted_whatever_the_folders_name() -> None:
    place, uri = Path("a b=(数据)/~'x'"), "sqlite:////a b=(数据)/mlflow.db"
    text = summary({}, [], run_dir=place, uri=uri, following=())
    report, compare = text.splitlines()[-2:]
    assert shlex.split(report)[1:] == ["python", "-m", "beit_exp.report", str(place)]
    assert shlex.split(compare)[1:] == ["mlflow", "ui", "--backend-store-uri", uri]


def test_the_closing_command_takes_a_password_from_where_the_run_had_it() -> None:
    text = summary({}, [], run_dir=Path("a"), uri="postgresql://me:***@host/db", following=())
    compare = text.splitlines()[-1]
    assert compare.split() == [
        "compare",
        'MLFLOW_BACKEND_STORE_URI="$MLFLOW_TRACKING_URI"',
        "mlflow",
        "ui",
    ]
