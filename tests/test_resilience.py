"""Kills, faults and several processes: what was saved is never lost, and no fault
passes silently.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import Command
from whole_runs import (
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
from beit_exp.train.checkpoint import CheckpointFolder, load_checkpoint

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


def test_a_full_disk_keeps_the_last_good_checkpoint(launch: Command, few_digits: Path) -> None:
    run_dir = launch.folder / "run"
    process = launch.start(*small(few_digits, epochs=400), "hydra.run.dir=run")
    first = run_dir / "checkpoints" / "step_00000005.safetensors"
    wait_for(first.exists, process)
    (worker,) = children(process.pid)
    # No file can grow beyond it: the next checkpoint meets a full disk
    limit = first.stat().st_size // 2
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (limit, limit))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, out + err
    assert (
        "could not be written" in out
        and "The last good one is" in out
        and "Traceback" not in out + err
    )
    newest = CheckpointFolder(run_dir / "checkpoints", keep=1).newest_first()
    assert newest and load_checkpoint(newest[0]).state["trainer"]["step"] >= 5


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "with a loss scale of 1"),
        (
            (
                "hardware.amp_level=O1",
                "hardware.loss_scale=1024",
                "hardware.max_skipped_steps=4",
            ),
            "in 4 steps in a row",
        ),
    ],
)
def test_diverged_training_stops_with_its_steps_and_its_last_good_checkpoint(
    overrides: tuple[str, ...], message: str, launch: Command, few_digits: Path
) -> None:
    wild = (
        "optimizer=momentum",
        "optimizer.base_lr=1e18",
        "optimizer.clip_global_norm_value=null",
        "scheduler=constant",
    )
    done = launch(
        *small(few_digits, *wild, "scheduler.warmup_length=1", *overrides, epochs=20),
        "hydra.run.dir=run",
    )
    assert done.returncode == 3, done.stdout
    assert "training has diverged" in done.stdout and message in done.stdout
    assert "The last good checkpoint is" in done.stdout
    assert [run.info.status for run in launch.runs()] == ["FAILED"]


# --- bad data


@pytest.fixture
def damaged(few_digits: Path, tmp_path: Path) -> Path:
    """A data set with an empty, a truncated and a foreign file among its training images."""
    folder = tmp_path / "damaged"
    shutil.copytree(few_digits, folder)
    files = sorted((folder / "train" / "7").iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:60])
    files[2].write_bytes(b"<html>not found</html>")
    return folder


def test_bad_images_are_found_by_a_scan(launch: Command, damaged: Path, few_digits: Path) -> None:
    done = launch("task=check_data", f"dataset.data_url={damaged}", "hydra.run.dir=scan")
    assert done.returncode == 2 and "3 images cannot be read:" in done.stdout
    listed = (launch.folder / "scan" / "bad_images.txt").read_text().splitlines()
    assert [line.split(" cannot")[0] for line in listed] == [
        str(path) for path in sorted((damaged / "train" / "7").iterdir())[:3]
    ]
    sound = launch("task=check_data", f"dataset.data_url={few_digits}", "hydra.run.dir=sound")
    assert sound.returncode == 0
    assert metrics_of(launch.folder / "sound")["data/train_images"] == 80


def test_bad_images_stop_a_run_or_are_replaced_and_counted(launch: Command, damaged: Path) -> None:
    stopped = launch(*small(damaged), "hydra.run.dir=stopped")
    assert stopped.returncode == 2 and "cannot be read as an image" in stopped.stdout
    assert "Traceback" not in stopped.stdout + stopped.stderr
    replaced = launch(*small(damaged, "dataset.bad_images=replace"), "hydra.run.dir=replaced")
    assert replaced.returncode == 0
    assert metrics_of(launch.folder / "replaced")["data/bad_images"] == 3
    assert replaced.stdout.count("another image takes its place") == 3


def test_a_bad_validation_image_is_never_left_out(
    launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(few_digits, folder)
    victim = sorted((folder / "val" / "2").iterdir())[0]
    victim.write_bytes(b"")
    done = launch(*small(folder, "dataset.bad_images=replace"))
    assert done.returncode == 2 and f"{victim.name} cannot be read" in done.stdout
