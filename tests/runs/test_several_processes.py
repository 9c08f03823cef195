"""Several processes as one run, on the loopback interface."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from whole_runs import (
    Command,
    best_of,
    children,
    is_alive,
    metrics_of,
    records,
    same_weights,
    small,
    wait_for,
    without_times,
)

pytestmark = pytest.mark.slow


def test_two_processes_train_as_one_with_twice_the_batch(launch: Command, few_digits: Path) -> None:
    plain = small(few_digits, "augment=light", "model.drop_path_rate=0.2", epochs=4)
    assert launch(*plain, "train.batch_size=16", "hydra.run.dir=one").returncode == 0
    done = launch(*plain, "train.batch_size=8", "hardware.device_num=2", "hydra.run.dir=two")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, within in (
        ("train/loss", 1e-5),
        ("train/grad_norm", 1e-4),
        ("val/top1", 0),
        ("val/loss", 1e-5),
    ):
        one, two = (
            [record[name] for record in without_times(launch.folder / run) if name in record]
            for run in ("one", "two")
        )
        assert len(one) == (20 if name.startswith("train") else 4)
        np.testing.assert_allclose(two, one, rtol=0, atol=within, err_msg=name)
    assert len(launch.runs()) == 2
    assert len((launch.folder / "two" / "metrics.jsonl").read_text().splitlines()) == len(
        (launch.folder / "one" / "metrics.jsonl").read_text().splitlines()
    )


@pytest.mark.long
def test_evaluation_is_exact_on_any_number_of_processes(launch: Command, few_digits: Path) -> None:
    assert launch(*small(few_digits, epochs=8), "hydra.run.dir=run").returncode == 0
    found = []
    for size in (1, 2, 3):
        done = launch(
            "task=evaluate",
            "checkpoint=run",
            f"hardware.device_num={size}",
            f"hydra.run.dir=eval{size}",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(metrics_of(launch.folder / f"eval{size}"))
    assert (
        found[0]["val/top1"]
        == found[1]["val/top1"]
        == found[2]["val/top1"]
        == best_of(launch.folder / "run")["val/top1"]
    )
    assert found[0]["val/top5"] == found[1]["val/top5"] == found[2]["val/top5"]
    np.testing.assert_allclose(
        [metrics["val/loss"] for metrics in found], found[0]["val/loss"], rtol=1e-6
    )


def test_a_killed_rank_ends_the_job_with_one_message(launch: Command, few_digits: Path) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(
        *small(few_digits, "hardware.device_num=2", epochs=400), "hydra.run.dir=run"
    )
    wait_for(lambda: records(run_dir) >= 8, process)
    everyone = children(process.pid)
    victim = next(
        pid for pid in everyone if b"BEIT_EXP_RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    )
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    _, err = process.communicate(timeout=90)
    assert time.monotonic() - started < 60
    assert process.returncode == 128 + signal.SIGKILL
    assert err.count("rank 1 of 2 was killed by signal 9; the other ranks were stopped") == 1
    assert not any(is_alive(pid) for pid in everyone)


def test_two_processes_stop_at_ctrl_c_and_resume_to_the_same_end(
    launch: Command, few_digits: Path
) -> None:
    settings = small(few_digits, "hardware.device_num=2", "train.batch_size=8", epochs=30)
    assert launch(*settings, "hydra.run.dir=whole").returncode == 0
    process = launch.start(*settings, "hydra.run.dir=halved")
    wait_for(lambda: records(launch.folder / "halved") >= 20, process)
    for pid in (process.pid, *children(process.pid)):  # Ctrl-C, as a terminal sends it to all
        os.kill(pid, signal.SIGINT)
    out, err = process.communicate(timeout=90)
    # The ranks get SIGTERM, too, from the process that waits for them
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM), out + err
    assert out.count("to go on: python -m beit_exp.worker") == 1
    assert launch(*settings, "hydra.run.dir=halved").returncode == 0
    assert same_weights(launch.folder / "whole", launch.folder / "halved")
    assert without_times(launch.folder / "whole") == without_times(launch.folder / "halved")
