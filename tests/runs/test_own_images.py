"""One's own images: a flat folder with a table of labels, of which a part is held out."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest
from once import made_once
from settings import TINY
from whole_runs import (
    Command,
    best_of,
    children,
    metrics_of,
    records,
    run_id,
    same_weights,
    wait_for,
    without_times,
)

from beit_exp.tracking.records import SPLIT_FILE, read_records

EACH = 12  # images of a class, in pairs that belong together
TESTED = {"test/loss", "test/top1", "test/top5", "test/balanced_accuracy", "test/macro_f1"}


@pytest.fixture(scope="module")
def flat(digits: Path, shared: Path) -> Path:
    """A folder that holds `images/`, without folders of classes, and `labels.csv`."""

    def make(folder: Path) -> None:
        (folder / "images").mkdir()
        rows = [("path", "label", "group")]
        for label in range(10):
            for number, path in enumerate(sorted((digits / "train" / str(label)).iterdir())[:EACH]):
                name = f"{label}_{number}.png"
                (folder / "images" / name).write_bytes(path.read_bytes())
                rows.append((name, f"digit {label}", f"{label}_{number // 2}"))
        with (folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    return made_once(shared / "flat", make)


def settings(flat: Path) -> tuple[str, ...]:
    return (
        *TINY,
        "dataset=image_folder",
        "dataset.num_classes=10",
        f"dataset.data_url={flat / 'images'}",
        f"dataset.labels={flat / 'labels.csv'}",
        "dataset.val_fraction=0.17",
        "dataset.test_fraction=0.17",
        "dataset.groups=table",
        "train.epochs=4",
        "train.eval_every_epochs=1",
        "train.save_every_epochs=1",
    )


@pytest.mark.slow
def test_a_run_on_a_flat_folder_holds_out_what_it_never_trains_on(
    launch: Command, flat: Path
) -> None:
    whole, killed = launch.folder / "whole", launch.folder / "killed"
    done = launch(*settings(flat), "hydra.run.dir=whole")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 training, 20 validation and 20 test images of 10 classes" in done.stdout
    tested = [record for record in read_records(whole / "metrics.jsonl") if "test/loss" in record]
    assert [record.keys() & TESTED for record in tested] == [TESTED]
    assert {name: metrics_of(whole)[name] for name in TESTED}.items() <= tested[0].items()
    assert all(name in done.stdout for name in TESTED)

    process = launch.start(*settings(flat), "hydra.run.dir=killed")
    wait_for(lambda: records(killed) >= 10, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    for _ in range(2):  # the second goes over a run that is done
        done = launch(*settings(flat), "hydra.run.dir=killed")
        assert done.returncode == 0, done.stdout + done.stderr
        assert without_times(killed) == without_times(whole)
        assert metrics_of(killed) == metrics_of(whole)
        assert same_weights(killed, whole)
        assert (killed / SPLIT_FILE).read_bytes() == (whole / SPLIT_FILE).read_bytes()
        history = launch.client().get_metric_history(run_id(killed), "test/top1")
        assert [metric.value for metric in history] == [metrics_of(whole)["test/top1"]]

    done = launch("task=evaluate", "checkpoint=whole", "hydra.run.dir=evaluated")
    assert done.returncode == 0, done.stdout + done.stderr
    found = metrics_of(launch.folder / "evaluated")
    assert {name: found[name] for name in best_of(whole)} == best_of(whole)


@pytest.fixture(scope="module")
def uneven(digits: Path, shared: Path) -> Path:
    """Two hundred images in five uneven classes, in folders of folders, and no `val`."""

    def make(folder: Path) -> None:
        for label, count in enumerate((80, 60, 35, 15, 10)):
            for number, path in enumerate(
                sorted((digits / "train" / str(label)).iterdir())[:count]
            ):
                place = folder / "train" / f"digit {label}" / f"day {number % 3}"
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{number}.png").write_bytes(path.read_bytes())

    return made_once(shared / "uneven", make)


@pytest.mark.slow
def test_a_folder_becomes_a_number_that_one_can_believe_by_one_command(
    launch: Command, uneven: Path
) -> None:
    words = ("experiment=own_images", f"dataset.data_url={uneven}", "train.epochs=10")
    done = launch(*words, "train.patience=null", "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    run_dir = launch.folder / "run"
    assert "139 training, 40 validation and 21 test images of 5 classes" in done.stdout
    metrics = metrics_of(run_dir)
    assert metrics.keys() >= {"best/val/balanced_accuracy", "val/macro_f1", *TESTED}
    assert "classes   lowest val/top1 at the last evaluation: digit" in done.stdout
    assert f"report    {run_dir}/report/report.html" in done.stdout
    page = (run_dir / "report" / "report.html").read_text()
    assert "Accuracy per class" in page and "digit 4" in page

    done = launch("task=evaluate", "evaluation.split=test", "checkpoint=run", "hydra.run.dir=again")
    assert done.returncode == 0, done.stdout + done.stderr
    found = metrics_of(launch.folder / "again")
    assert {name: metrics[name] for name in TESTED} == {name: found[name] for name in TESTED}

    images = uneven / "train" / "digit 0"
    done = launch("task=predict", "checkpoint=run", f"images={images}", "hydra.run.dir=predicted")
    assert done.returncode == 0, done.stdout + done.stderr
    with (launch.folder / "predicted" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80 and all(row["class1"].startswith("digit ") for row in rows)


@pytest.mark.long
def test_a_sweep_of_folds_that_is_killed_twice_ends_with_all_images_pooled(
    launch: Command, flat: Path
) -> None:
    words = [word for word in settings(flat) if "_fraction=" not in word]
    sweep = (*words, "sweep=folds", "dataset.folds=3", "hydra.sweep.dir=sweep")
    for fold in (0, 2):
        process = launch.start(*sweep)
        wait_for(
            lambda fold=fold: records(launch.folder / f"sweep/dataset.fold={fold}") >= 10, process
        )
        for pid in [process.pid, *children(process.pid)]:
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    done = launch(*sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("dataset.fold=0 is done") == 1
    assert "mean ± std of folds" in done.stdout and "(120 images, each in the" in done.stdout
    with (launch.folder / "sweep" / "report" / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == 120
    groups = {(row["path"].split("_")[0], int(row["path"][2:-4]) // 2, row["fold"]) for row in rows}
    assert len(groups) == 60  # both images of a group lie in one fold


@pytest.mark.long
def test_splits_sampling_and_patience_depend_on_neither_threads_nor_processes(
    launch: Command, flat: Path
) -> None:
    common = [word for word in settings(flat) if not word.startswith("train.epochs=")]
    common += ["train.epochs=30", "train.patience=2", "train.sampling=balanced"]
    words = {
        "one": ("hardware.num_parallel_workers=1",),
        "four": ("hardware.num_parallel_workers=4",),
        "two": ("hardware.device_num=2", "train.batch_size=8"),
    }
    for name, more in words.items():
        done = launch(*common, *more, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the training ends (train.patience)" in done.stdout
    one, four, two = (launch.folder / name for name in words)
    assert without_times(four) == without_times(one) and same_weights(four, one)
    assert (one / SPLIT_FILE).read_bytes() == (two / SPLIT_FILE).read_bytes()
    assert (one / SPLIT_FILE).read_bytes() == (four / SPLIT_FILE).read_bytes()
    expected, found = without_times(one), without_times(two)
    assert [record["step"] for record in found] == [record["step"] for record in expected]
    for record, other in zip(expected, found, strict=True):
        if "train/loss" in record:
            assert other["train/loss"] == pytest.approx(record["train/loss"], abs=1e-4)
    assert metrics_of(two)["test/top1"] == metrics_of(one)["test/top1"]
