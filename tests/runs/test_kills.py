"""Kills: what was saved is never lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from whole_runs import (
    Command,
    children,
    is_alive,
    metrics_of,
    records,
    run_id,
    same_weights,
    small,
    wait_for,
    without_times,
)

from beit_exp.tracking.records import read_records
from beit_exp.train.checkpoint import CheckpointFolder

pytestmark = pytest.mark.slow
# When a run is killed: a file whose appearance, or a number of records after which, and a delay in
# s
MOMENTS = {
    "before the first step": ("mlflow.json", 0.0),
    "while compiling": ("plots/batch.png", 1.5),
    "in the first epoch": (2, 0.0),
    "in the middle of a step": (7, 0.013),
    "near the first evaluation": (5, 0.05),
    "in a checkpoint": ("checkpoints/step_00000005.safetensors", 0.0),
    "between checkpoint and best": ("checkpoints/step_00000010.safetensors", 0.004),
    "in a later epoch": (33, 0.0),
    "in a later evaluation": (48, 0.03),
    "near the end": (63, 0.02),
}


def thorough(data: Path, *more: str, epochs: int = 12) -> tuple[str, ...]:
    """Every kind of state at once: augmentation, drop path, averaged weights, a dynamic loss scale,
    accumulation.
    """
    return small(
        data,
        "augment=finetune_mixup",
        "model.drop_path_rate=0.2",
        "train.ema_decay=0.9",
        "train.batch_size=8",
        "train.accumulate_steps=2",
        "hardware.amp_level=O1",
        "hardware.is_dynamic_loss_scale=true",
        "hardware.loss_scale=1024",
        "hardware.loss_scale_window=7",
        *more,
        epochs=epochs,
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> Path:
    command = Command(tmp_path_factory.mktemp("whole"))
    done = command(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    return command.folder / "run"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_any_moment_resumes_to_the_same_end(
    moment: str, launch: Command, few_digits: Path, uninterrupted: Path
) -> None:
    mark, delay_s = MOMENTS[moment]
    run_dir = launch.folder / "run"
    process = launch.start(*thorough(few_digits), "hydra.run.dir=run")
    reached = (
        (lambda: (run_dir / mark).exists())
        if isinstance(mark, str)
        else (lambda: records(run_dir) >= mark)
    )
    wait_for(reached, process)
    time.sleep(delay_s)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not (run_dir / "metrics.json").exists()
    done = launch(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert without_times(run_dir) == without_times(uninterrupted)
    assert metrics_of(run_dir) == metrics_of(uninterrupted)
    assert same_weights(run_dir, uninterrupted)
    assert [
        path.name for path in (run_dir / "checkpoints").iterdir() if path.name.startswith(".")
    ] == []
    assert {run.info.status for run in launch.runs() if run.info.run_id == run_id(run_dir)} == {
        "FINISHED"
    }


def test_a_worker_ends_and_saves_when_its_launcher_is_killed(
    launch: Command, few_digits: Path
) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*small(few_digits, epochs=400), "hydra.run.dir=run")
    wait_for(lambda: records(run_dir) >= 8, process)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in workers)
    last = max(record["step"] for record in read_records(run_dir / "metrics.jsonl"))
    assert (
        CheckpointFolder(run_dir / "checkpoints", keep=1).load_newest().state["trainer"]["step"]
        == last
    )


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    launch: Command, few_digits: Path, uninterrupted: Path
) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*thorough(few_digits), "hydra.run.dir=run")
    wait_for((run_dir / "checkpoints" / "step_00000020.safetensors").exists, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    newest = CheckpointFolder(run_dir / "checkpoints", keep=1).newest_first()[0]
    content = bytearray(newest.read_bytes())
    content[-1000] ^= 255
    newest.write_bytes(content)
    done = launch(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0
    assert f"{newest.name} is damaged" in done.stdout
    assert same_weights(run_dir, uninterrupted)
    assert without_times(run_dir) == without_times(uninterrupted)
