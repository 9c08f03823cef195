"""A worker that is started before it is known where it will work: it loads its libraries while the
command composes and checks. It has touched nothing before its order, so it may end at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.hardware.nodes import find_place
from beit_exp.hardware.process import (
    Process,
    see_through,
    start,
    worker_command,
    worker_environment,
)

OWN = "BEIT_EXP_"  # how the names of our own variables begin
ORDER = OWN + "ORDER"  # the file descriptor from which a waiting worker reads its order


class WaitingWorker:
    """A worker without an order."""

    def __init__(self, task: str) -> None:
        self.surroundings = surroundings()
        its_end, self.line = os.pipe()
        try:
            environment = {**worker_environment(), ORDER: str(its_end)}
            self.process = start(worker_command(Path(task)), environment, keep=(its_end,))
        finally:
            os.close(its_end)

    def send(self, run_dir: Path) -> None:
        """Give it its order; `BrokenPipeError` where it has died."""
        order = {"run_dir": str(run_dir), "environment": worker_environment()}
        with os.fdopen(self.line, "wb") as line:
            line.write(json.dumps(order).encode())

    def dismiss(self) -> None:
        """End it."""
        os.close(self.line)
        self.process.kill()
        self.process.wait()


_waiting: list[WaitingWorker] = []  # of this process, one at the most


def surroundings() -> tuple[str, dict[str, str]]:
    """What a worker has of this process from its start on, besides what is told it: Hydra may
    change both for a run (`hydra.job.chdir`, `hydra.job.env_set`).
    """
    others = {name: text for name, text in os.environ.items() if not name.startswith(OWN)}
    return os.getcwd(), others


def have_one_wait(cfg: Config) -> None:
    """The next worker that begins has loaded by then what its task needs, where that is possible;
    inside of `dismissing_waiting`.
    """
    if is_possible(cfg) and not _waiting:
        _waiting.append(WaitingWorker(cfg.task))


@contextmanager
def dismissing_waiting() -> Iterator[None]:
    """No worker waits when this block is over."""
    try:
        yield
    finally:
        while _waiting:
            _waiting.pop().dismiss()


def is_possible(cfg: Config) -> bool:
    """Whether the process that is started for a run is the one that works, and nothing must be said
    to its libraries before they load, as to oneDNN about a tokenizer's convolutions.
    """
    is_alone = cfg.hardware.device_num == 1 and find_place(os.environ) is None
    return is_alone and cfg.task not in ("pretrain", "train_tokenizer")


def run_worker(
    run_dir: Path, *, in_sweep: bool, started: Callable[[Process], None] = lambda _: None
) -> int:
    """Do the run of a directory by a worker, to its end, which `started` is given; returns its exit
    status.
    """
    worker = begin(run_dir)
    started(worker)
    return see_through(worker, in_sweep=in_sweep)


def begin(run_dir: Path) -> Process:
    """The worker that waits, if there is one, or a new one, at work in a run directory."""
    if _waiting:
        waiting = _waiting.pop()
        if waiting.surroundings != surroundings():
            waiting.dismiss()
            return start(worker_command(run_dir), worker_environment())
        try:
            waiting.send(run_dir)
            return waiting.process
        except BrokenPipeError:
            waiting.process.wait()  # a new one says what ended it
    return start(worker_command(run_dir), worker_environment())


def is_waiting() -> bool:
    """Whether this process is a worker without an order."""
    return ORDER in os.environ


def await_order(load: Callable[[], object]) -> Path | None:
    """In a worker without an order: load, and return the run directory that it is given; None where
    there is nothing to do. What asks to stop meanwhile is heard afterwards, as of any worker that
    has just begun.
    """
    line = int(os.environ[ORDER])
    with suppress(Exception):  # the run itself comes to the same, and tells it
        load()
    with os.fdopen(line, "rb") as file:
        order = file.read()
    if not order:
        return None
    told = json.loads(order)
    os.environ.clear()
    os.environ.update(told["environment"])
    return Path(told["run_dir"])
