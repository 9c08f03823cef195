"""Faults of disks, files, images and numbers: none passes silently."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from whole_runs import (
    Command,
    children,
    metrics_of,
    same_weights,
    small,
    wait_for,
    without_times,
)

from beit_exp.train.checkpoint import CheckpointFolder, load_checkpoint

pytestmark = pytest.mark.slow


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
