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
