"""Faults of disks, files, images and numbers: none passes silently."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from whole_runs import Command, children, metrics_of, small, wait_for

from beit_exp.train.checkpoint import CheckpointFolder, load_checkpoint

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("left_kb", [0, 12, 400])
def test_a_wholly_full_disk_is_one_message(
    left_kb: int, launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    """Full before the run begins, at its first files, and at its first checkpoint."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a disk of a few megabytes cannot be mounted here")
    try:
        (disk / "fill").write_bytes(bytes((3072 - left_kb) << 10))
        done = launch(*small(few_digits), f"hydra.run.dir={disk / 'run'}")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
