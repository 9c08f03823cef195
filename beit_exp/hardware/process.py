"""How a worker process is started and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

LOG_LEVEL = "GLOG_v"
LAUNCHER = "BEIT_EXP_LAUNCHER"  # the process whose end ends the worker
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: its terminal is gone

ABANDON = signal.SIGUSR2  # to a worker that waits for its ranks: end them now, whatever they do

# What a thread makes of SIGINT: see `hear_interrupts_apart`
INTERRUPT = signal.SIGUSR1 if sys.platform == "darwin" else signal.SIGRTMIN + 5
_apart = threading.Event()

Process = subprocess.Popen[bytes]


def worker_command(run_dir: Path) -> list[str]:
    """The command line that runs, or resumes, the run in a directory with this same interpreter."""
    return [sys.executable, "-m", "beit_exp.worker", str(run_dir)]


def worker_environment() -> dict[str, str]:
    """What a worker's libraries read when they load, and where it finds this package."""
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


def start(
    command: list[str], environment: Mapping[str, str], *, keep: tuple[int, ...] = ()
) -> Process:
    """Start a process of a run, which inherits the file descriptors `keep`; whoever starts one
    waits for its end.

    What asks it to stop waits until it listens: before that, Python would end it with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        return subprocess.Popen(command, env=environment, pass_fds=keep)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def shell_status(returncode: int) -> int:
    """An exit status as a shell tells it: 128 + n where Python says -n, ended by signal n."""
    return 128 - returncode if returncode < 0 else returncode


# By the user, who may go on
STOPPED = tuple(shell_status(-number) for number in STOPS)


def heard_stops() -> list[signal.Signals]:
    """What can ask this process to stop: not what it was started to ignore, as by nohup."""
    return [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]


def hear_interrupts_apart() -> None:
    """In a worker: have a thread wait for SIGINT, which is blocked everywhere else from now on.

    Whenever MindSpore runs a graph it puts a handler of its own in the place of ours, which makes
    SIGTERM of SIGINT: a second Ctrl-C would not act at once. What is blocked reaches no handler.
    Threads that libraries have started before block it as well: `start` begins a worker so.
    """
    if signal.SIGINT not in heard_stops():
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, INTERRUPT))
    signal.signal(INTERRUPT, lambda *_: None)
    _apart.set()
    threading.Thread(target=_pass_on_interrupts, name="interrupts", daemon=True).start()


def _pass_on_interrupts() -> None:
    while True:
        signal.sigwait([signal.SIGINT])
        signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)


def handle_stops(handle: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Give what asks to stop to `handle`; returns the handlers before, by number."""

    def heard(number: int, frame: FrameType | None) -> None:
        handle(signal.SIGINT if number == INTERRUPT else number, frame)

    numbers = [*heard_stops(), *([INTERRUPT] if _apart.is_set() else [])]
    return {number: signal.signal(number, heard) for number in numbers}


def let_stops_in() -> None:
    """End the waiting of what asked to stop before there was a handler for it."""
    apart = {signal.SIGINT} if _apart.is_set() else set()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOPS, INTERRUPT} - apart)


@contextmanager
def handling_signals(handle: Callable[[int], None]) -> Iterator[None]:
    """What asks to stop goes to `handle` inside the block, by its number."""
    previous = handle_stops(lambda number, _: handle(number))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Workers:
    """Processes that are asked to stop together, by SIGTERM: they agree on the step to stop at."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.is_asked = False

    def add(self, process: Process) -> None:
        """Take another one in; where the others were asked to stop before, it is asked, too."""
        self.processes.append(process)
        if self.is_asked:
            process.send_signal(signal.SIGTERM)

    def stop(self, _: int) -> None:
        """Ask all of them, at a signal to this process."""
        self.is_asked = True
        for process in self.processes:
            process.send_signal(signal.SIGTERM)


@contextmanager
def forwarding_signals() -> Iterator[Workers]:
    """What asks to stop reaches every worker that is added."""
    workers = Workers()
    with handling_signals(workers.stop):
        yield workers


def see_through(worker: Process, *, in_sweep: bool) -> int:
    """Wait for the end of a worker and pass on signals: the worker saves, this process only waits.

    Returns the worker's exit status; a signal to this process ends it too, and with it a whole
    sweep, even if the worker was just done.
    """
    interrupts: list[int] = []

    def pass_on(number: int) -> None:
        interrupts.append(number)
        if number != signal.SIGINT or len(interrupts) > 2:  # Ctrl-C reaches the worker by itself
            worker.send_signal(number)

    with handling_signals(pass_on):
        status = shell_status(worker.wait())
    if interrupts and (in_sweep or status in STOPPED):
        sys.exit(status if status in STOPPED else shell_status(-interrupts[0]))
    return status
