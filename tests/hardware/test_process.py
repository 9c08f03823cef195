from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from settings import ROOT

from beit_exp.hardware.process import (
    forwarding_signals,
    see_through,
    shell_status,
    start,
    worker_command,
    worker_environment,
)

LISTEN = "import signal; signal.pthread_sigmask(signal.SIG_SETMASK, [])"  # as a worker does


def test_a_signal_waits_until_a_worker_listens(tmp_path: Path) -> None:
    code = (
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'there')!r}).touch(); time.sleep(0.5);"
        f"pathlib.Path({str(tmp_path / 'still')!r}).touch(); {LISTEN}; time.sleep(60)"
    )
    worker = start([sys.executable, "-c", code], os.environ)
    while not (tmp_path / "there").exists():
        time.sleep(0.01)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        worker.send_signal(number)
    assert worker.wait(30) < 0
    assert (tmp_path / "still").exists()


def test_worker_runs_with_this_interpreter_and_finds_the_package_from_anywhere(monkeypatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert worker_command(Path("run")) == [sys.executable, "-m", "beit_exp.worker", "run"]
    environment = worker_environment()
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", 137),
        (f"{LISTEN}; import os; os.kill(os.getpid(), 15)", 143),
    ],
)
def test_an_end_by_a_signal_is_told_as_a_shell_tells_it(code: str, status: int) -> None:
    worker = start([sys.executable, "-c", code], os.environ)
    assert shell_status(worker.wait()) == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_worker_and_not_the_others(number: int) -> None:
    before = signal.getsignal(number)
    sleep = [sys.executable, "-c", f"{LISTEN}; import time; time.sleep(60)"]
    with forwarding_signals() as workers:
        workers.add(start(sleep, os.environ))
        other = start(sleep, os.environ)
        os.kill(os.getpid(), number)
        workers.add(start(sleep, os.environ))  # after the signal
        assert [worker.wait(30) for worker in workers.processes] == [-signal.SIGTERM] * 2
        assert other.poll() is None
        other.kill()
        other.wait()
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("in_sweep", [False, True])
def test_a_signal_as_the_worker_is_done_ends_a_sweep_and_is_no_failure_of_a_run(
    in_sweep: bool,
) -> None:
    code = f"import os, signal; {LISTEN}; os.kill(os.getppid(), signal.SIGTERM)"
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {code}"
    ends = pytest.raises(SystemExit, match="143") if in_sweep else nullcontext()
    with ends:
        assert see_through(start([sys.executable, "-c", deaf], os.environ), in_sweep=in_sweep) == 0
