"""Whatever command a screen shows can be pasted into a shell, in a folder with an awkward name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from settings import ROOT
from whole_runs import Command, small, wait_for

pytestmark = pytest.mark.slow
COMMAND = re.compile(r"(?:python (?:\S*launch\.py|-m beit_exp\.\w+)|mlflow ui) .*$", re.MULTILINE)


@pytest.fixture
def launch(tmp_path: Path) -> Command:
    folder = tmp_path / "a b=(数据)"
    folder.mkdir()
    shutil.copy(ROOT / "launch.py", folder)  # as in a clone
    return Command(folder)


def shown_by(launch: Command, *arguments: str, status: int = 0) -> list[str]:
    """The commands on the screen of one."""
    done = launch(*arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return COMMAND.findall(done.stdout + done.stderr)


def shown_when_stopped(launch: Command, condition, *arguments: str) -> list[str]:
    process = launch.start(*arguments)
    wait_for(condition, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, out + err
    return COMMAND.findall(out + err)


def paste(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the screen in bash."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def try_all(commands: list[str], folder: Path) -> None:
    for command in commands:
        words = shlex.split(command)
        if words[0] == "mlflow":
            assert MlflowClient(words[-1]).get_experiment_by_name("beit"), command
            continue
        done = paste(command, folder)
        expected = 2 if "/path/to/" in command else 0
        assert done.returncode == expected, f"{command}\n{done.stdout}{done.stderr}"


def test_commands_of_a_run_and_of_the_tasks_on_it(launch: Command, few_digits: Path) -> None:
    commands = shown_by(launch, *small(few_digits), "hydra.run.dir=runs/one")
    assert len(commands) == 4
    for task in ("evaluate", "predict", "explain", "features", "probe", "export"):
        commands += shown_by(launch, f"task={task}", "checkpoint=runs/one")
    refused = shown_by(
        launch, "train.epochs=3", "hydra.run.dir=runs/one", status=2
    )  # all else is the run's
    assert len(refused) == 2 and refused[1].endswith("'allow_changes=[train.epochs]'")
    try_all([*commands, *refused, refused[1]], launch.folder)


@pytest.mark.long
def test_commands_of_what_was_stopped(launch: Command, few_digits: Path) -> None:
    settings = small(few_digits, epochs=20)
    first = launch.folder / "runs" / "one" / "checkpoints" / "step_00000005.safetensors"
    run = shown_when_stopped(launch, first.exists, *settings, "hydra.run.dir=runs/one")
    assert [shlex.split(line)[:3] for line in run] == [["python", "-m", "beit_exp.worker"]]
    job = launch.folder / "runs" / "s=1" / "seed=1" / "checkpoints" / first.name
    sweep = shown_when_stopped(
        launch, job.exists, "-m", *settings, "seed=1,2", "hydra.sweep.dir='runs/s=1'"
    )
    assert "-m" in shlex.split(sweep[-1]) and len(sweep) == 2
    try_all([*run, *sweep], launch.folder)
    assert (launch.folder / "runs" / "s=1" / "seed=2" / "metrics.json").exists()
