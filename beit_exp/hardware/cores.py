"""Which cores and cards a process may use, and how jobs that run at once share them out."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

CARDS = "ASCEND_RT_VISIBLE_DEVICES"
# Of one core alone, MindSpore has one thread for what its ranks tell each other: they meet after
# 80 to 100 seconds, not after 4 to 9
MIN_CORES = 2


def own_cores() -> list[int]:
    """The cores of this process, by number: fewer than the machine has where it is shared out."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def num_working() -> int:
    """How many threads can work at once: one on each core of this process, or fewer where a
    container may use less than its cores (a limit of its control group).
    """
    from joblib import cpu_count  # reads control groups of both versions

    return int(cpu_count())


def share_of_cores(place: int, *, places: int) -> list[int]:
    """The cores of one of so many processes: neighbours, for they share memory; all of them where
    a share would be less than MIN_CORES.
    """
    cores = own_cores()
    first, last = (len(cores) * each // places for each in (place, place + 1))
    return cores[first:last] if len(cores) >= MIN_CORES * places else cores


def bind(pid: int, cores: list[int]) -> None:
    """Let a process that has just started run on these cores alone, with all that it starts."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):  # it has ended already
            os.sched_setaffinity(pid, cores)


@contextmanager
def share_of_machine(folder: Path, *, jobs: int, device_num: int) -> Iterator[None]:
    """One of `jobs` jobs that run at once: its own cores and cards, for it and what it starts.

    The jobs agree by locks in a folder they share. `jobs` counts as joblib does: -1 is as many as
    there are cores.
    """
    cores = own_cores()
    jobs = jobs if jobs > 0 else max(1, len(cores) + 1 + jobs)
    if jobs == 1:
        yield
        return
    with ExitStack() as stack:
        slot = _take_slot(folder, jobs, stack)
        cards = os.environ.get(CARDS)
        visible = (
            cards.split(",") if cards else [str(number) for number in range(jobs * device_num)]
        )
        os.environ[CARDS] = ",".join(visible[slot * device_num : (slot + 1) * device_num])
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores[slot::jobs] or [cores[slot % len(cores)]])
        try:
            yield
        finally:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, cores)
            os.environ.pop(CARDS)
            if cards is not None:
                os.environ[CARDS] = cards


def _take_slot(folder: Path, jobs: int, stack: ExitStack) -> int:
    """A number below `jobs` that no other running job holds.

    The lock ends with `stack`, or with the process.
    """
    for slot in range(jobs):
        lock = stack.enter_context((folder / f".slot{slot}").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        lock.truncate(0)
        lock.write(f"{os.getpid()} {os.getppid()}\n")
        lock.flush()
        return slot
    raise RuntimeError(f"more than {jobs} jobs run in {folder}")


def slot_holders(folder: Path, *, parent: int) -> list[int]:
    """The processes below `parent` that have a share of the machine by the locks in a folder."""
    found = []
    for path in folder.glob(".slot*"):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                words = lock.read().split()
                if words[1:] == [str(parent)]:
                    found.append(int(words[0]))
    return found
