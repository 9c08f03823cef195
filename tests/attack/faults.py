"""Faults that strike a run from inside its worker, each at a chosen place of its course."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# "<phase>/<fault>", and what a user would type once more; set in the environment of a launcher
FAULT, AGAIN = "BEIT_EXP_TEST_FAULT", "BEIT_EXP_TEST_AGAIN"
STORE, DATA, RUN = Path("mlflow.db"), Path("data"), Path("run")  # in the folder of a launcher
STRUCK = Path("struck.txt")  # there as soon as a fault has struck
DAY_S = 86_400


@dataclass(frozen=True)
class Place:
    """A call of a function: inside of it, or after a delay while it is under way, a fault strikes.

    A fault at a place with `is_after` strikes when that call has returned.
    """

    module: str
    name: str
    call: int
    delay_s: float = 0.0
    is_after: bool = False


@dataclass(frozen=True)
class Fault:
    """What is done to a run, and how its command may end then: by 0 where it goes on."""

    act: Callable[[], None]
    statuses: tuple[int, ...]


PLACES = {
    "start": Place("beit_exp.hardware.device", "start_device", 1),
    "compile": Place("beit_exp.train.step", "Trainer.__call__", 1, delay_s=1.0),
    # Two calls a step: in the middle of the eighth, between its gradients and its update
    "step": Place("beit_exp.train.cells", "GradientCell.read", 15, is_after=True),
    # 14 batches an evaluation, half of them of the averaged weights
    "evaluation": Place("beit_exp.inference.evaluate", "batch_sums", 17),
    # Written, and not yet renamed
    "checkpoint": Place("beit_exp.train.checkpoint", "save_file", 2, is_after=True),
    "end": Place("beit_exp.train.session", "plot_curves", 1),
}


def kill_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_both() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    kill_worker()


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def kill_launcher() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def terminate() -> None:
    os.kill(os.getppid(), signal.SIGTERM)


def interrupt() -> None:
    """Ctrl-C, which a terminal sends to both."""
    os.kill(os.getppid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def hang_up() -> None:
    """A terminal that is closed."""
    os.kill(os.getppid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)


def suspend() -> None:
    pid = os.getpid()
    subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {pid}"])
    os.kill(pid, signal.SIGSTOP)


def fill_disk() -> None:
    """No file can grow: what a full disk looks like from inside."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def refuse_memory() -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 20), resource.RLIM_INFINITY))


def refuse_files() -> None:
    most = max(map(int, os.listdir("/proc/self/fd")))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def set_clock_back() -> None:
    now = time.time
    time.time = lambda: now() - DAY_S


def damage_newest_checkpoint() -> None:
    for path in sorted((RUN / "checkpoints").glob("step_*"))[-1:]:
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
    kill_both()


def cut_last_record() -> None:
    """What a loss of power leaves of a line that was being written."""
    path = RUN / "metrics.jsonl"
    if path.exists():
        os.truncate(path, max(0, path.stat().st_size - 20))
    kill_both()


def move_run() -> None:
    RUN.rename("moved")


def delete_run() -> None:
    shutil.rmtree(RUN)


def lock_store() -> None:
    """Another process that never ends its transaction."""
    connection = sqlite3.connect(STORE, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    _kept.append(connection)


def lose_store() -> None:
    """A folder stands where the store was."""
    STORE.rename("mlflow.away")
    STORE.mkdir()


def lose_data() -> None:
    DATA.rename("data.away")


def launch_again() -> None:
    """The same command, typed in another terminal."""
    environment = {name: value for name, value in os.environ.items() if name != FAULT}
    done = subprocess.run(
        [sys.executable, *os.environ[AGAIN].split("\n")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    Path("second.txt").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")


FAULTS = {
    "SIGKILL of the worker": Fault(kill_worker, (137,)),
    "SIGKILL of both": Fault(kill_both, (-9,)),
    "SIGKILL of the launcher": Fault(kill_launcher, (-9,)),
    "SIGSEGV": Fault(crash, (139,)),
    "SIGTERM": Fault(terminate, (143,)),
    "Ctrl-C": Fault(interrupt, (130,)),
    "SIGHUP": Fault(hang_up, (129,)),
    "suspended for 2 s": Fault(suspend, (0,)),
    "disk full": Fault(fill_disk, (2,)),
    "no memory": Fault(refuse_memory, (0, 2)),  # what was taken before may be enough
    "no file descriptor": Fault(refuse_files, (0, 2)),  # the same
    "clock back by a day": Fault(set_clock_back, (0,)),
    "newest checkpoint damaged": Fault(damage_newest_checkpoint, (-9,)),
    "last record cut": Fault(cut_last_record, (-9,)),
    "run directory moved": Fault(move_run, (2,)),
    "run directory deleted": Fault(delete_run, (2,)),
    "store locked": Fault(lock_store, (0,)),
    "store lost": Fault(lose_store, (0,)),
    "images moved": Fault(lose_data, (0, 2)),  # none is needed at the end
    "started twice": Fault(launch_again, (0,)),
}
_kept: list[Any] = []


def strike_at_its_place() -> None:
    """In a worker whose environment names a fault: have it strike where the run comes by."""
    if FAULT not in os.environ or "beit_exp.worker" not in sys.orig_argv:
        return
    phase, _, fault = os.environ[FAULT].partition("/")
    sys.meta_path.insert(0, _Patching(PLACES[phase], FAULTS[fault].act))


class _Patching(MetaPathFinder, Loader):
    """Loads one module as ever, then puts a fault into one of its functions."""

    def __init__(self, place: Place, act: Callable[[], None]) -> None:
        self.place = place
        self.act = act

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.place.module:
            return None
        sys.meta_path.remove(self)
        self.spec = importlib.util.find_spec(fullname)
        return importlib.util.spec_from_file_location(fullname, self.spec.origin, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        self.spec.loader.exec_module(module)
        *owners, name = self.place.name.split(".")
        owner = reduce(getattr, owners, module)
        setattr(owner, name, self.striking(getattr(owner, name)))

    def striking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, during whose chosen call the fault strikes."""
        calls = 0

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            is_now = calls == self.place.call
            if is_now and not self.place.is_after:
                self.strike()
            result = function(*arguments, **named)
            if is_now and self.place.is_after:
                self.strike()
            return result

        return call

    def strike(self) -> None:
        STRUCK.touch()
        if self.place.delay_s:
            threading.Timer(self.place.delay_s, self.act).start()
        else:
            self.act()
