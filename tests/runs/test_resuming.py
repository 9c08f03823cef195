"""A run that is stopped and resumed is the run that was never stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from sharded import pack, with_label_files
from whole_runs import (
    Command,
    children,
    metrics_of,
    same_weights,
    small,
    wait_for,
    without_times,
)

from beit_exp.report.runs import training_s
from beit_exp.tracking.records import read_records


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_sharded"),
    [
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        pytest.param(signal.SIGKILL, False, marks=pytest.mark.long),
    ],
)
def test_a_run_stopped_after_two_epochs_and_resumed_equals_one_never_stopped(
    number: signal.Signals, is_sharded: bool, launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    data, words = few_digits, ()
    if is_sharded:
        data = tmp_path / "data"
        pack(few_digits / "train", f"{data}/train-{{}}.tar", shards=5, members=with_label_files)
        pack(few_digits / "val", f"{data}/val-{{}}.tar", shards=2, members=with_label_files)
        words = ("dataset=image_folder", "dataset.num_classes=10", "dataset.shuffle_window=32")
    settings = small(
        data,
        *words,
        "augment=finetune_mixup",
        "model.drop_path_rate=0.2",
        "train.ema_decay=0.9",
        "optimizer.weight_decay_end=0.2",
        epochs=40,
    )
    whole = launch(*settings, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stdout
    stop_after(
        launch.start(*settings, "hydra.run.dir=halved"),
        tmp_path / "halved",
        epochs=2,
        number=number,
    )
    if number == signal.SIGKILL:  # perhaps before the store was met
        assert {run.info.status for run in launch.runs()} <= {"FINISHED", "RUNNING"}
    else:
        assert launch.runs()[-1].info.status == "KILLED"
    assert not (tmp_path / "halved" / "metrics.json").exists()
    assert launch(*settings, "hydra.run.dir=halved").returncode == 0
    assert without_times(tmp_path / "halved") == without_times(tmp_path / "whole")
    assert same_weights(tmp_path / "halved", tmp_path / "whole")
    assert [run.info.status for run in launch.runs()] == ["FINISHED", "FINISHED"]


def stop_after(process, run_dir: Path, *, epochs: int, number: signal.Signals) -> None:
    """Send a signal to a command, and to its worker where the command cannot pass it on, once
    epochs are done.
    """
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.jsonl").exists() or read_epoch(run_dir) < epochs:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    workers = [
        int(line)
        for line in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    process.send_signal(number)
    if number != signal.SIGTERM:
        import os

        os.kill(workers[0], number)
    out, err = process.communicate(timeout=120)
    # While a graph runs, MindSpore turns SIGINT into SIGTERM.
    statuses = {-number} if number == signal.SIGKILL else {128 + number, 128 + signal.SIGTERM}
    assert process.returncode in statuses, out + err
    if number != signal.SIGKILL:
        assert f"to go on: python -m beit_exp.worker {run_dir}" in out


def read_epoch(run_dir: Path) -> float:
    return max((record["epoch"] for record in read_records(run_dir / "metrics.jsonl")), default=0)


@pytest.mark.slow
def test_settings_that_break_the_law_of_a_resumed_run_must_be_named(
    launch: Command, few_digits: Path
) -> None:
    assert launch(*small(few_digits), "hydra.run.dir=run").returncode == 0
    refused = launch(*small(few_digits, epochs=3), "hydra.run.dir=run")
    assert refused.returncode == 2 and "train.epochs: 2 there, 3 here" in refused.stderr
    assert "allow_changes=[train.epochs]" in refused.stderr
    allowed = launch(
        *small(few_digits, "allow_changes=[train.epochs]", epochs=3), "hydra.run.dir=run"
    )
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    assert metrics_of(launch.folder / "run")["epoch"] == 3
    written = read_records(launch.folder / "run" / "metrics.jsonl")
    (pause_s,) = [record["time/pause_s"] for record in written if "time/pause_s" in record]
    assert pause_s > 0 and training_s(written) < written[-1]["time"] - written[0]["time"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGHUP, "starting"),
        (signal.SIGINT, "starting"),
        (signal.SIGINT, "compiling the network"),
        (signal.SIGINT, "compiled in"),
    ],
)
def test_a_terminal_that_closes_or_sends_ctrl_c_ends_a_run_in_order(
    number: signal.Signals, words: str, launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    """Whatever the run is at; both the launcher and the worker get the signal."""
    log = tmp_path / "run" / "launch.log"
    process = launch.start(*small(few_digits, epochs=400), "hydra.run.dir=run")
    wait_for(lambda: log.exists() and words in log.read_text(), process)
    for pid in (*children(process.pid), process.pid):
        os.kill(pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, out + err
    assert "Traceback" not in out + err and "to go on: " in out
    has_begun = words != "starting"
    assert (tmp_path / "run" / "checkpoints").exists() == has_begun
    if has_begun:
        assert [run.info.status for run in launch.runs()] == ["KILLED"]


@pytest.mark.long
def test_a_run_that_ends_early_does_so_at_the_same_step_though_it_is_killed(
    launch: Command, few_digits: Path
) -> None:
    # What changes nothing betters nothing: four evaluations, the first of them the best
    still = ("optimizer.base_lr=1e-12", "scheduler.min_lr=0")
    settings = small(few_digits, *still, "train.patience=3", epochs=40)
    assert launch(*settings, "hydra.run.dir=whole").returncode == 0
    whole, killed = launch.folder / "whole", launch.folder / "killed"
    assert metrics_of(whole)["step"] == 20
    process = launch.start(*settings, "hydra.run.dir=killed")
    wait_for((killed / "checkpoints" / "step_00000010.safetensors").exists, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    again = launch(*settings, "hydra.run.dir=killed")
    assert "3 evaluations without a better val/top1: the training ends" in again.stdout
    assert metrics_of(killed) == metrics_of(whole) and same_weights(killed, whole)
    assert without_times(killed) == without_times(whole)
    assert launch(*settings, "hydra.run.dir=killed").returncode == 0
    assert metrics_of(killed) == metrics_of(whole)
