"""The jobs that joblib runs at once, in processes of its own, end as their sweep ends.

By itself joblib kills them, with all below them, when the sweep is stopped, and leaves them at work
when the sweep is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from beit_exp.hardware.cores import slot_holders
from beit_exp.hardware.process import heard_stops, shell_status

SWEEP_PID = "BEIT_EXP_SWEEP_PID"  # the process that has begun the sweep
POLL_S = 0.5


def stop_jobs(sweep_dir: Path) -> None:
    """In the process that began a sweep: stop the jobs that run at once, when they have saved.

    Asked again and again, for one may be just about to listen; a worker hears of it once.
    """
    while holders := slot_holders(sweep_dir, parent=os.getpid()):
        for pid in holders:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(POLL_S)


@contextmanager
def ending_with_sweep() -> Iterator[None]:
    """A job inside of it is stopped when the sweep is gone, and one that was stopped is the last.

    Nothing in the process that began the sweep.
    """
    launcher = int(os.environ[SWEEP_PID])
    if launcher == os.getpid():
        yield
        return
    with job_process(launcher).at_work():
        yield


@cache
def job_process(launcher: int) -> JobProcess:
    """This process of joblib's, from its first job on."""
    return JobProcess(launcher)


class JobProcess:
    """A process that does one job of a sweep after the other, until the sweep ends."""

    def __init__(self, launcher: int) -> None:
        self.launcher = launcher
        self.status = 0  # of the signal that stopped it
        self.is_at_work = threading.Lock()
        for number in heard_stops():
            signal.signal(number, self.note)
        threading.Thread(target=self.watch, name="sweep", daemon=True).start()

    def note(self, number: int, _: object) -> None:
        """Between two jobs joblib would take an end for a crash, and kill the other processes."""
        self.status = shell_status(-number)

    def watch(self) -> None:
        while os.getppid() == self.launcher:
            time.sleep(POLL_S)
        while not self.is_at_work.acquire(timeout=POLL_S):
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(shell_status(-signal.SIGTERM))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self.is_at_work:
            if self.status:
                sys.exit(self.status)
            try:
                yield
            except SystemExit as stop:
                self.status = int(stop.code or 0)
                raise
