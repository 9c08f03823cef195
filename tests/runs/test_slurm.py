"""The documents' commands on a Slurm of two nodes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from documents import english_text
from settings import ROOT
from slurm_nodes import needs_slurm, two_nodes
from whole_runs import Command, metrics_of, same_weights, small, wait_for, without_times

pytestmark = [pytest.mark.slow, needs_slurm]

LAUNCH = [sys.executable, str(ROOT / "launch.py")]


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    with two_nodes() as environment:
        yield environment


def documented(pattern: str) -> str:
    """What the pages say to type."""
    found = re.search(pattern, english_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def srun(
    slurm: dict[str, str], folder: Path, *words: str, options: str = ""
) -> subprocess.Popen[str]:
    """`srun ... python launch.py ...`, by itself with the pages' options."""
    options = options or documented(r"^srun (\S+ \S+) python launch\.py")
    return subprocess.Popen(
        ["srun", *options.split(), *LAUNCH, *words],
        cwd=folder,
        env=slurm,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(run_dir: Path) -> list[int]:
    """Those whose command names a run's directory."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(run_dir) in place.read_text():
                found.append(int(place.parent.name))
    return found


def state_of(job: str, slurm: dict[str, str]) -> str:
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    return subprocess.run(command, env=slurm, capture_output=True, text=True).stdout.strip()


def losses(run_dir: Path) -> list[float]:
    return [each["train/loss"] for each in without_times(run_dir) if "train/loss" in each]


def run_dirs(folder: Path) -> list[Path]:
    return sorted((folder / "runs").iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", ("train.batch_size=8",)),
        pytest.param(
            "--nodes=2 --ntasks-per-node=2",
            ("train.batch_size=4", "hardware.device_num=2"),
            marks=pytest.mark.long,
        ),
    ],
    ids=["a task a node", "a task a device"],
)
def test_two_nodes_train_as_one_process_with_the_larger_batch(
    options: str,
    words: tuple[str, ...],
    slurm: dict[str, str],
    launch: Command,
    few_digits: Path,
    tmp_path: Path,
) -> None:
    process = srun(slurm, tmp_path, *small(few_digits), *words, options=options)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err and "another process" not in err
    (together,) = run_dirs(tmp_path)
    assert re.fullmatch(r"slurm_\d+_0", together.name)
    (tracked,) = launch.runs()
    assert tracked.info.status == "FINISHED" and tracked.data.params["hardware.node_num"] == "2"

    assert launch(*small(few_digits), "train.batch_size=16").returncode == 0
    (alone,) = set(run_dirs(tmp_path)) - {together}
    assert losses(together) == pytest.approx(losses(alone), abs=1e-5)
    assert metrics_of(together)["val/top1"] == metrics_of(alone)["val/top1"]


@pytest.mark.parametrize(
    ("what", "status"),
    [("{job}", 143), pytest.param("{job}.0", 137, marks=pytest.mark.long)],
    ids=["SIGTERM to a job", "SIGKILL to a step"],
)
def test_what_scancel_ends_is_gone_on_both_nodes_and_resumes_to_the_same_end(
    what: str, status: int, slurm: dict[str, str], few_digits: Path, tmp_path: Path
) -> None:
    words = (*small(few_digits, epochs=40), "train.batch_size=8")
    process = srun(slurm, tmp_path, *words, "hydra.run.dir=run")
    run_dir = tmp_path / "run"
    wait_for(
        lambda: any(run_dir.glob("checkpoints/step_*")) and (run_dir / "mlflow.json").exists(),
        process,
    )
    command = ["squeue", "--noheader", "--format=%i"]
    job = subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout
    subprocess.run(["scancel", what.format(job=job.strip())], env=slurm, check=True)
    started = time.monotonic()
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - started < 60
    assert process.returncode == status, out + err
    assert "Traceback" not in err and "is gone" not in err
    assert out.count("stopped by a signal; to go on: ") == (status == 143)
    assert not [pid for pid in processes_of(run_dir) if pid != os.getpid()]

    again = srun(slurm, tmp_path, *words, "hydra.run.dir=run")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, out + err
    assert "resuming at step" in out
    undisturbed = srun(slurm, tmp_path, *words, "hydra.run.dir=undisturbed")
    assert undisturbed.wait(300) == 0
    assert same_weights(run_dir, tmp_path / "undisturbed")


@pytest.mark.long
def test_a_job_that_its_time_limit_stops_is_requeued_and_ends_as_if_it_had_not(
    slurm: dict[str, str], few_digits: Path, tmp_path: Path
) -> None:
    """The pages' script for sbatch, with a shorter limit."""
    script = documented(r"```bash\n(#!/usr/bin/env bash\n#SBATCH.*?)```")
    rarely = ("train.eval_every_epochs=50", "train.save_every_epochs=50")
    words = (*small(few_digits, "train.log_every_steps=10", *rarely, epochs=400),)
    words += ("train.batch_size=8",)
    script = re.sub(
        r"python launch\.py [^\n]*?(?= hydra\.run\.dir)", " ".join([*LAUNCH, *words]), script
    )
    script = re.sub(r"--time=\S+", "--time=2", script)
    script = re.sub(r"--signal=\S+", "--signal=TERM@30", script)
    (tmp_path / "job.sh").write_text(script)
    done = subprocess.run(
        ["sbatch", "--parsable", "job.sh"], cwd=tmp_path, env=slurm, capture_output=True, text=True
    )
    job = done.stdout.strip()
    run_dir = tmp_path / "runs" / job
    deadline = time.monotonic() + 900
    while not (run_dir / "metrics.json").exists():
        assert time.monotonic() < deadline, (tmp_path / f"slurm-{job}.out").read_text()
        states = [state_of(job, slurm)]
        time.sleep(10)  # the nodes forget a job before they take it again
        states.append(state_of(job, slurm))
        if states == ["PENDING", "PENDING"]:  # it would wait two minutes by itself
            command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(command, env=slurm, check=False)
    log = (tmp_path / f"slurm-{job}.out").read_text()
    assert log.count("stopped by a signal") >= 1 and "resuming at step" in log
    undisturbed = srun(slurm, tmp_path, *words, "hydra.run.dir=undisturbed")
    assert undisturbed.wait(600) == 0
    assert same_weights(run_dir, tmp_path / "undisturbed")


@pytest.mark.long
def test_a_sweep_of_jobs_of_two_nodes_that_is_killed_goes_on_without_repeating(
    slurm: dict[str, str], launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    words = [
        "-m",
        *small(few_digits),
        "train.batch_size=8",
        "seed=1,2,3,4",
        "hydra.sweep.dir=sweep",
        *documented(
            r"^python launch\.py -m \S+ (hydra/launcher=submitit_slurm [^\n]*nodes=2[^\n]*)$"
        ).split(),
        "hydra.launcher.mem_gb=4",
        "hydra.launcher.timeout_min=30",
    ]
    launch.more = {name: slurm[name] for name in ("SLURM_CONF",)}
    process = launch.start(*words)
    wait_for(lambda: any((tmp_path / "sweep").glob("*/metrics.json")), process)
    process.kill()
    process.wait()
    subprocess.run(["scancel", "--user=root"], env=slurm, check=True)
    done = launch(*words, timeout_s=900)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [run for run in launch.runs() if "mlflow.parentRunId" in run.data.tags]
    assert sorted(run.data.params["seed"] for run in runs) == ["1", "2", "3", "4"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "is done" in "".join(
        path.read_text() for path in (tmp_path / "sweep" / ".submitit").rglob("*.out")
    )
    assert len(json.loads((tmp_path / "sweep" / "sweep.json").read_text())["swept"]) == 1
