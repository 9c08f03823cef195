"""A training stopped by a signal and gone on with, beside one that was left alone."""

from __future__ import annotations

import signal
import subprocess
import time
from itertools import dropwhile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import Config
from beit_exp.hardware.process import STOPPED, shell_status, worker_command, worker_environment
from beit_exp.launch.run_directory import last_error
from beit_exp.self_check.line import Outcome
from beit_exp.tracking.records import read_records

STOP_AFTER = 3  # records
POLL_S = 0.01
OUTPUT, CRASH = "output.log", "Fatal Python error"  # how Python's fault handler begins


def check_resume(folder: Path, cfg: Config) -> Outcome:
    """Train twice, once with a SIGTERM midway: the same weights, bit for bit."""
    whole, stopped = folder / "whole", folder / "stopped"
    for run_dir in (whole, stopped):
        run_dir.mkdir()
        save_config(cfg, run_dir / "config.yaml")
    if status := run(whole):
        return Outcome(False, f"a training ended with exit status {status}: {why(whole)}")
    status = run(stopped, stop_after=STOP_AFTER)
    if status not in STOPPED:
        return Outcome(False, f"SIGTERM ended a training with exit status {status}: {why(stopped)}")
    step = newest(stopped).stem
    if status := run(stopped):
        return Outcome(False, f"it did not resume: exit status {status}: {why(stopped)}")
    one, other = (load_file(newest(run_dir)) for run_dir in (whole, stopped))
    unlike = [name for name in one if not np.array_equal(one[name], other[name])]
    if unlike:
        most = max(float(np.abs(one[name] - other[name]).max()) for name in unlike)
        return Outcome(
            False,
            f"stopped after {step}, resumed: {len(unlike)} of {len(one)} tensors differ, by up to "
            f"{most:.1e} ({unlike[0]})",
        )
    return Outcome(
        True, f"SIGTERM after {step}, resumed: {len(one)} tensors as if never stopped, bit for bit"
    )


def run(run_dir: Path, *, stop_after: int | None = None) -> int:
    """Run, or resume, a directory's training, and stop it after so many records; what a shell would
    call its exit status.
    """
    with (run_dir / OUTPUT).open("a") as output:
        process = subprocess.Popen(
            worker_command(run_dir),
            env=worker_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while stop_after is not None and process.poll() is None:
                records = run_dir / "metrics.jsonl"
                if records.exists() and len(read_records(records)) >= stop_after:
                    process.send_signal(signal.SIGTERM)
                    break
                time.sleep(POLL_S)
            return shell_status(process.wait())
        except BaseException:
            process.terminate()
            process.wait()
            raise


def why(run_dir: Path) -> str:
    """What a run told of its end: an error, or where it crashed."""
    if told := last_error(run_dir):
        return told
    lines = (run_dir / OUTPUT).read_text(errors="replace").splitlines()
    crash = list(dropwhile(lambda line: not line.startswith(CRASH), lines))
    frames = [line.strip() for line in crash if line.startswith("  File ")]
    return " in ".join([*crash[:1], *frames[:1]] or lines[-1:] or ["it said nothing"])


def newest(run_dir: Path) -> Path:
    """The last checkpoint of a run."""
    return max((run_dir / "checkpoints").glob("step_*.safetensors"))
