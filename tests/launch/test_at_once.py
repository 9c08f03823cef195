from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from whole_runs import is_alive

from beit_exp.launch.at_once import SWEEP_PID, stop_jobs

JOBS = """
import pathlib, signal, sys, time
from beit_exp.hardware.cores import share_of_machine
from beit_exp.launch.at_once import ending_with_sweep

folder = pathlib.Path(sys.argv[1])
for name in ("first", "second"):
    try:
        with ending_with_sweep(), share_of_machine(folder, jobs=2, device_num=1):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            (folder / name).touch()
            try:
                time.sleep(60)
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1)
                (folder / "saved").touch()
    except SystemExit as stop:  # as joblib does
        status = stop.code
sys.exit(status)
"""
LAUNCHER = f"""
import os, pathlib, subprocess, sys, time
os.environ["{SWEEP_PID}"] = str(os.getpid())
jobs = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]])
while not (pathlib.Path(sys.argv[1]) / "first").exists():
    time.sleep(0.01)
print(jobs.pid, flush=True)
os._exit(0)
"""


def test_a_sweep_that_is_stopped_waits_until_its_jobs_have_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWEEP_PID, str(os.getpid()))
    jobs = subprocess.Popen([sys.executable, "-c", JOBS, str(tmp_path)])
    while not (tmp_path / "first").exists():
        time.sleep(0.01)
    stop_jobs(tmp_path)
    assert (tmp_path / "saved").exists()
    assert jobs.wait(30) == 143 and not (tmp_path / "second").exists()


def test_jobs_end_when_their_sweep_is_gone_and_begin_no_other(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), JOBS],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    deadline = time.monotonic() + 30
    while is_alive(int(gone.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(int(gone.stdout))
    assert (tmp_path / "saved").exists() and not (tmp_path / "second").exists()
