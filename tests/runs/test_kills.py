"""Kills: what was saved is never lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
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
    thorough,
    wait_for,
    without_times,
)

from beit_exp.tracking.records import read_records
from beit_exp.train.checkpoint import CheckpointFolder

# At random moments, as often before as after the first checkpoint that a process writes
KILLS, AFTERWARDS_S = 200, 0.3
# When a run is killed: a file whose appearance, or a number of records after which, and a delay in
# s
MOMENTS = {
    "in the middle of a step": (7, 0.013),
    "in a checkpoint": ("checkpoints/step_00000005.safetensors", 0.0),
    "between checkpoint and best": ("checkpoints/step_00000010.safetensors", 0.004),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> Path:
    command = Command(tmp_path_factory.mktemp("whole"))
    done = command(*thorough(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    return command.folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "in the middle of a step",
        pytest.param("in a checkpoint", marks=pytest.mark.long),
        pytest.param("between checkpoint and best", marks=pytest.mark.long),
    ],
)
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


@pytest.mark.slow
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


@pytest.mark.long
def test_jobs_at_once_end_and_save_when_their_launcher_is_killed(
    launch: Command, few_digits: Path
) -> None:
    at_once = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep")
    process = launch.start("-m", *small(few_digits, epochs=400), *at_once, "seed=1,2,3")
    first, second, third = (launch.folder / "sweep" / f"seed={seed}" for seed in (1, 2, 3))
    wait_for(lambda: min(records(first), records(second)) >= 1, process)
    everyone = children(process.pid)
    process.kill()
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in everyone) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in everyone)
    process.communicate()
    for run_dir in (first, second):
        last = max(record["step"] for record in read_records(run_dir / "metrics.jsonl"))
        assert newest_step(run_dir) == last and not (run_dir / "failed.json").exists()
    assert not (third / "launch.log").exists()
    assert {run.info.status for run in launch.runs() if run.info.run_name != "sweep"} == {"KILLED"}


@pytest.mark.slow
@pytest.mark.long
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


@pytest.mark.endurance
def test_a_run_killed_two_hundred_times_ends_as_one_never_killed(
    launch: Command, few_digits: Path
) -> None:
    """A kill leaves nothing but what is on disk, and each start goes on from there."""
    settings = thorough(few_digits, epochs=600)
    whole, killed = launch.folder / "whole", launch.folder / "killed"
    began = time.monotonic()
    process = launch.start(*settings, "hydra.run.dir=whole")
    wait_for((whole / "checkpoints" / "step_00000005.safetensors").exists, process)
    begun_s = time.monotonic() - began
    assert process.communicate(timeout=3600) and process.returncode == 0
    rng, reached = random.Random(0), [0]
    process = launch.start(*settings, "hydra.run.dir=killed")
    wait_for((killed / "config.yaml").exists, process)
    command = [sys.executable, "-m", "beit_exp.worker", str(killed)]
    for kill in range(KILLS):
        if kill:
            process = subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL)
        early, late = rng.uniform(0, begun_s), begun_s + rng.uniform(0, AFTERWARDS_S)
        time.sleep(rng.choice([early, late]))
        for pid in [process.pid, *children(process.pid)]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        reached.append(newest_step(killed))
    assert not (killed / "metrics.json").exists(), reached
    print(f"{KILLS} kills, {len(set(reached))} steps begun from, the last {reached[-1]}")
    assert launch(*settings, "hydra.run.dir=killed", timeout_s=3600).returncode == 0
    assert without_times(killed) == without_times(whole)
    assert metrics_of(killed) == metrics_of(whole)
    assert same_weights(killed, whole)


def newest_step(run_dir: Path) -> int:
    paths = CheckpointFolder(run_dir / "checkpoints", keep=1).newest_first()
    return int(paths[0].stem.removeprefix("step_")) if paths else 0
