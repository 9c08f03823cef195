"""Several processes as one run: a worker per device, and an end for all at once.

The processes find each other through MindSpore's dynamic cluster, which needs a scheduler beside
them and no rank table. Where the environment names a RANK_TABLE_FILE, that is used instead.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from typing_extensions import assert_never

from beit_exp.config.schema import DeviceTarget, HardwareConfig
from beit_exp.errors import DivergedError, UserError
from beit_exp.hardware.cores import bind, share_of_cores
from beit_exp.hardware.ending import Rank
from beit_exp.hardware.nodes import Place, find_place
from beit_exp.hardware.process import (
    ABANDON,
    LAUNCHER,
    STOPPED,
    Process,
    forwarding_signals,
    start,
)

logger = logging.getLogger(__name__)

RANK = "BEIT_EXP_RANK"  # tells a process that it is one of several, and which
MEETING = "BEIT_EXP_MEETING"  # address:port of MindSpore's scheduler, where there are several nodes
SCHEDULER = "scheduler"  # the rank of MindSpore's own, which works on no device
# Ranks come to their first collective when their disks and compilers let them; HCCL waits 120 s.
# A node that is silent is noticed without MindSpore, whose 30 s a machine under load may need
TIMEOUT = {"HCCL_CONNECT_TIMEOUT": "600", "MS_NODE_TIMEOUT": "120"}
POLL_S = 0.2
GRACE_S = 10.0  # for the others after one has failed
# For the others after one has stopped at a signal: the first rank may be writing a checkpoint
SAVING_S = 600.0
LEAVING_S = 30.0  # for the clean-up of libraries, after all is done
# Of a worker that has told its user what to mend
SAID = (UserError.exit_status, DivergedError.exit_status)


def world_size(cfg: HardwareConfig) -> int:
    """Processes of the whole run, on all nodes."""
    return cfg.device_num * (cfg.node_num or 1)


def own_rank() -> int:
    """This process's number among the run's workers; 0 if alone, -1 for the scheduler."""
    name = os.environ.get(RANK, "0")
    return -1 if name == SCHEDULER else int(name)


def is_scheduler() -> bool:
    """Whether this process is MindSpore's scheduler."""
    return os.environ.get(RANK) == SCHEDULER


def is_member() -> bool:
    """Whether this process was started by `run` as one of several."""
    return RANK in os.environ


def run(cfg: HardwareConfig, command: list[str]) -> int:
    """Start this node's processes and wait; returns 0, or the exit status of the first that failed.

    When one fails, or ABANDON says that another node has, the others are stopped, for they would
    wait for it for ever.
    """
    place = find_place(os.environ) if MEETING in os.environ else None
    meeting = os.environ.get(MEETING, f"127.0.0.1:{free_port()}")
    signal.signal(ABANDON, _abandon)
    scheduler: Process | None = None
    ranks: dict[str, Rank] = {}
    try:
        with forwarding_signals() as workers:
            for name, own in environments(cfg, place, meeting=meeting).items():
                environment = {**TIMEOUT, **os.environ, **own, LAUNCHER: str(os.getpid())}
                if name == SCHEDULER:  # the ranks meet through it, so it outlives them
                    scheduler = start(command, environment)
                    continue
                ranks[name] = Rank(command, environment)
                workers.add(ranks[name].process)
                if place is None or place.cards is None:  # else Slurm or its like has shared them
                    bind(
                        ranks[name].process.pid,
                        share_of_cores(len(ranks) - 1, places=cfg.device_num),
                    )
            return _wait(ranks, size=world_size(cfg))
    except AbandonedError:
        return 1
    finally:
        signal.signal(ABANDON, lambda *_: None)  # it is over here
        for rank in ranks.values():
            rank.end()
        if scheduler is not None:
            scheduler.kill()
            scheduler.wait()


class AbandonedError(Exception):
    """Another node has failed, or is gone."""


def _abandon(*_: object) -> None:
    raise AbandonedError


def environments(
    cfg: HardwareConfig, place: Place | None, *, meeting: str
) -> dict[str, dict[str, str]]:
    """What each of the processes that are started here finds in its environment, by rank.

    `meeting` is the address and the port of MindSpore's scheduler, which the first node starts.
    """
    first = 0 if place is None else place.node * cfg.device_num
    cards = range(cfg.device_num) if place is None or place.cards is None else [place.card]
    size = str(world_size(cfg))
    own = {
        str(first + card): {
            RANK: str(first + card),
            "RANK_ID": str(first + card),
            "DEVICE_ID": str(card),
        }
        for card in cards
    }
    if _has_rank_table(cfg.device_target):
        return {rank: {**each, "RANK_SIZE": size} for rank, each in own.items()}
    host, _, port = meeting.rpartition(":")
    common = {
        "MS_WORKER_NUM": size,
        "MS_SCHED_HOST": host,
        "MS_SCHED_PORT": port,
        "MS_TOPO_TIMEOUT": f"{cfg.cluster_timeout_s:.0f}",
    }
    scheduler = {SCHEDULER: {**common, RANK: SCHEDULER, "MS_ROLE": "MS_SCHED"}}
    return (scheduler if place is None or place.number == 0 else {}) | {
        rank: {**each, **common, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": rank}
        for rank, each in own.items()
    }


def _has_rank_table(target: DeviceTarget) -> bool:
    match target:
        case "cpu":
            return False
        case "ascend" | "auto":
            return "RANK_TABLE_FILE" in os.environ
        case _:
            assert_never(target)


def join() -> None:
    """Meet the other processes; for the scheduler, wait until they have left.

    `UserError` if they do not find each other, or one is lost.
    """
    from mindspore.communication import init

    try:
        init()
    except RuntimeError as error:
        why = str(error).partition("\n")[0].partition(" You can run")[0]
        raise UserError(  # 30 ms: MindSpore looks at a new connection three times (tcp_comm.cc:496)
            "the processes of this run did not find each other, or lost one; nodes must reach each "
            f"other at any port, and answer within 30 ms: {why}"
        ) from error


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _wait(ranks: dict[str, Rank], *, size: int) -> int:
    """Until every rank has told its exit status, or one has failed and the others had time to end;
    returns 0, or the status of the first that failed.
    """
    failed = _first_failed(ranks)
    status = (failed and ranks[failed].status()) or 0
    _await(ranks, Rank.status, SAVING_S if status in STOPPED else GRACE_S)
    if status in (0, *STOPPED):
        for rank in ranks.values():
            rank.let_go()
        _await(ranks, Rank.ended, LEAVING_S)
    elif status not in SAID:
        how = (
            f"was killed by signal {status - 128}"
            if status > 128
            else f"ended with exit status {status}"
        )
        print(
            f"rank {failed} of {size} {how}; the other ranks were stopped. "
            "What went wrong stands above or in launch*.log; to go on, run the same again",
            file=sys.stderr,
        )
    return status


def _first_failed(ranks: dict[str, Rank]) -> str | None:
    """The rank that has failed, as soon as there is one; None if all do well."""
    while True:
        statuses = {name: rank.status() for name, rank in ranks.items()}
        failed = [name for name, status in statuses.items() if status]
        if failed:
            return failed[0]
        if all(status == 0 for status in statuses.values()):
            return None
        time.sleep(POLL_S)


def _await(ranks: dict[str, Rank], end: Callable[[Rank], int | None], limit_s: float) -> None:
    """Until every rank has come to that end, or the time is over."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and any(end(rank) is None for rank in ranks.values()):
        time.sleep(POLL_S)


def log_name() -> Path:
    """The log file of this process inside a run directory."""
    return Path("launch.log" if own_rank() == 0 else f"launch.rank{os.environ[RANK]}.log")
