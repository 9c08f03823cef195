"""How a worker process is started and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOG_LEVEL = "GLOG_v"
LAUNCHER = "BEIT_EXP_LAUNCHER"  # the process whose end ends the worker


def worker_command(run_dir: Path) -> list[str]:
    """The command line that runs, or resumes, the run in a directory with this same interpreter."""
    return [sys.executable, "-m", "beit_exp.worker", str(run_dir)]


def worker_environment() -> dict[str, str]:
    """Environment of a worker: what libraries read when they load, and where it finds
    this package.
    """
    environment = {**os.environ, **library_environment()}
    environment[LAUNCHER] = str(os.getpid())
    root = str(Path(__file__).resolve().parents[2])
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    if root not in paths:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, *paths]))
    return environment


def library_environment() -> dict[str, str]:
    """What libraries read when they load, before any of our code can say it.

    oneDNN, which multiplies matrices on a CPU, rounds none of its own accord: that is the layers'
    business.
    """
    return {
        "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
        LOG_LEVEL: os.environ.get(LOG_LEVEL, "3"),  # MindSpore's errors, not its warnings
    }


SCHEDULER = "scheduler"
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # by the user, who may go on


@contextmanager
def forwarding_signals(processes: dict[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """SIGTERM and SIGINT reach every worker, which agree on the step to stop at."""

    def forward(number: int, _: Any) -> None:
        for name, process in processes.items():
            if name != SCHEDULER:
                process.send_signal(signal.SIGTERM)

    previous = {
        number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_worker(run_dir: Path) -> int:
    """Run the worker to its end and pass on signals: the worker saves, this process only waits.

    Returns the worker's exit status; a signal to this process ends it too, and with it a whole
    sweep.
    """
    process = subprocess.Popen(worker_command(run_dir), env=worker_environment())
    interrupts = []

    def pass_on(number: int, _: Any) -> None:
        interrupts.append(number)
        if number == signal.SIGTERM or len(interrupts) > 2:  # Ctrl-C reaches the worker by itself
            process.send_signal(number)

    previous = {
        number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    code = 128 - code if code < 0 else code
    if interrupts and code in STOPPED:
        sys.exit(code)
    return code
