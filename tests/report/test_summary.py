from __future__ import annotations

import shlex
from pathlib import Path

from beit_exp.report.summary import summary

RUN = Path("runs/a")


def tell(metrics, records=(), *, uri: str = "sqlite:///x.db", classes=(), images=None) -> str:
    return summary(
        metrics,
        list(records),
        run_dir=RUN,
        page=RUN / "report" / "report.html",
        uri=uri,
        following=(),
        classes=classes,
        images=images,
    )


def test_closing_summary_shows_the_last_and_the_best_result() -> None:
    records = [{"time": 0.0, "time/images_per_s": 50.0}, {"time": 3725.0}]
    metrics = {"val/top1": 97.5, "best/val/top1": 98.0, "best/epoch": 30.0}
    text = tell(metrics, records)
    assert text.splitlines()[0].split() == ["result", "last", "epoch", "30", "(best)"]
    assert text.splitlines()[1].split() == ["val/top1", "97.5000", "98.0000"]
    assert text.splitlines()[2].split() == ["time", "1:02:05", "50", "images/s"]
    assert "report    runs/a/report/report.html" in text and "imagenet" not in text


def test_what_the_best_evaluation_did_not_measure_has_no_value_there() -> None:
    text = tell({"val/loss": 2.0, "best/val/loss": 1.5, "val/knn_top1": 90.0})
    assert text.splitlines()[1].split() == ["val/loss", "2.0000", "1.5000"]
    assert text.splitlines()[2].split() == ["val/knn_top1", "90.0000"]


def test_the_test_set_stands_below_the_best() -> None:
    metrics = {"val/top1": 97.5, "best/val/top1": 98.0, "test/balanced_accuracy": 96.25}
    text = tell(metrics)
    val, test = text.splitlines()[1:3]
    assert test.split() == ["test/balanced_accuracy", "96.2500"] and len(test) == len(val)


def test_the_summary_names_the_classes_that_the_network_knows_least() -> None:
    names = ["ant", "bee", "cat", "dog", "elk", "fox"]
    rows = [["class", "images", "top1", "most confused with"]]
    rows += [*([name, 2, 0.0, "owl"] for name in names), ["gnu", 0, "", ""], ["owl", 9, 100.0, ""]]
    text = tell({"val/balanced_accuracy": 50.0}, classes=rows)
    assert "lowest val/top1 at the last evaluation: ant 0.0 of 2, bee 0.0 of 2, cat" in text
    assert "not one image of ant, bee, cat, dog, elk and 1 more was classified correctly" in text
    assert "classes" not in tell({}, classes=[rows[0], rows[-1]])
    heading, line = text.splitlines()[:2]
    assert heading.index("last") + len("last") == line.index("50.0000") + len("50.0000")


def test_the_closing_command_can_be_pasted_whatever_the_folders_name() -> None:
    uri = "sqlite:////a b=(数据)/mlflow.db"
    compare = tell({}, uri=uri).splitlines()[-1]
    assert shlex.split(compare)[1:] == ["mlflow", "ui", "--backend-store-uri", uri]


def test_the_closing_command_takes_a_password_from_where_the_run_had_it() -> None:
    compare = tell({}, uri="postgresql://me:***@host/db").splitlines()[-1]
    assert compare.split() == [
        "compare",
        'MLFLOW_BACKEND_STORE_URI="$MLFLOW_TRACKING_URI"',
        "mlflow",
        "ui",
    ]


def test_accuracies_over_all_images_stand_with_their_interval() -> None:
    metrics = {"val/top1": 90.0, "best/val/top1": 96.0, "val/macro_f1": 90.0, "test/top1": 100.0}
    lines = tell(metrics, images={"val": 50, "test": 20}).splitlines()
    assert lines[0].endswith("   95 % interval")
    assert lines[1].split()[2:] == ["96.0000", "86.29", "to", "99.51"]
    assert lines[2].split() == ["val/macro_f1", "90.0000"]
    assert lines[3].split() == ["test/top1", "100.0000", "83.16", "to", "100.00"]
