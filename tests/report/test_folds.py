from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from whole_runs import write_run

from beit_exp.report.folds import pool_folds
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes, confusion
from beit_exp.report.page import as_told, table, write_report
from beit_exp.report.result_files import write_table
from beit_exp.report.runs import Run, read_place
from beit_exp.tracking.records import SPLIT_FILE

WORDS = ("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=2", "dataset.folds=3")


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    """Three folds of nine images of two classes; what fold n holds out is wrong n times."""
    rows = [(f"{number}.png", "ab"[number % 2], number // 3) for number in range(9)]
    for fold in range(3):
        job = tmp_path / "sweep" / f"dataset.fold={fold}"
        (job / "plots").mkdir(parents=True)
        write_run(job, *WORDS, f"dataset.fold={fold}", top1=(50.0, 60.0 + 10 * fold))
        split = [(path, name, "val" if own == fold else "train", "") for path, name, own in rows]
        write_table(job / SPLIT_FILE, [("path", "label", "split", "group"), *split])
        labels = np.array(["ab".index(name) for _, name, own in rows if own == fold])
        predicted = np.where(np.arange(3) < fold, 1 - labels, labels)
        Outcomes(labels, predicted, np.full(3, 0.5), np.full(3, 0.5)).save(job / OUTCOMES_FILE)
    return tmp_path / "sweep"


def test_folds_are_repetitions_with_mean_and_deviation(folds: Path) -> None:
    header, rows = table(read_place(folds))
    assert header[1:4] == ["dataset.fold", "best val/top1", "mean ± std of folds"]
    assert [row[3] for row in rows] == ["70 ± 10"] * 3


def test_every_image_is_pooled_once_with_what_its_own_fold_predicted(folds: Path) -> None:
    pooled = pool_folds(read_place(folds))
    assert pooled is not None and len(pooled.rows) == 9
    assert pooled.outcomes.metrics()["top1"] == pytest.approx(100 * 6 / 9)
    assert confusion(pooled.outcomes, 2).tolist() == [[4, 1], [2, 2]]
    told = as_told(read_place(folds))
    assert "pooled    top1 66.6667  balanced_accuracy 65.0000" in told and "(9 images" in told


def test_the_page_and_its_files_tell_of_the_pooled_predictions(folds: Path, tmp_path: Path) -> None:
    page = write_report(read_place(folds), tmp_path / "out", title="x").read_text()
    assert "Out-of-fold predictions" in page and "Means over folds" in page
    rows = list(csv.DictReader((tmp_path / "out" / "out_of_fold.csv").open()))
    assert [row["path"] for row in rows] == [f"{number}.png" for number in range(9)]
    assert [row["fold"] for row in rows] == list("000111222")
    wrong = [row["path"] for row in rows if row["label"] != row["predicted"]]
    assert wrong == ["3.png", "6.png", "7.png"]
    write_report(read_place(folds)[:2], tmp_path / "out", title="x")
    assert not (tmp_path / "out" / "out_of_fold.csv").exists()


def without(runs: list[Run], folder: Path, name: str) -> list[Run]:
    (folder / "dataset.fold=1" / name).unlink()
    return runs


def test_nothing_is_pooled_unless_all_folds_are_there(folds: Path) -> None:
    runs = read_place(folds)
    assert pool_folds(runs[:2]) is None
    assert pool_folds([*runs, runs[0]]) is None
    assert pool_folds([]) is None
    assert pool_folds(without(runs, folds, SPLIT_FILE)) is None


def test_folds_of_two_seeds_are_pooled_with_each_seed(folds: Path) -> None:
    runs = read_place(folds)
    others = [replace(run, settings={**run.settings, "seed": 7}) for run in runs]
    pooled = pool_folds(runs + others)
    assert pooled is not None and len(pooled.rows) == 18
    assert pool_folds(runs + others[:1]) is None
