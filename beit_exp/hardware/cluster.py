"""Several processes as one run: a worker per device, and an end for all at once.

The processes find each other through MindSpore's dynamic cluster, which needs a scheduler beside
them and no rank table. Where the environment names a RANK_TABLE_FILE, that is used instead.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path

from typing_extensions import assert_never

from beit_exp.config.schema import DeviceTarget, HardwareConfig
from beit_exp.errors import DivergedError, UserError
from beit_exp.hardware.cores import bind, share_of_cores
from beit_exp.hardware.process import STOPPED, Process, forwarding_signals, shell_status, start

logger = logging.getLogger(__name__)

RANK = "BEIT_EXP_RANK"  # tells a process that it is one of several, and which
SCHEDULER = "scheduler"  # the rank of MindSpore's own, which works on no device
# Ranks come to their first collective when their disks and compilers let them; HCCL waits 120 s
TIMEOUT = {"HCCL_CONNECT_TIMEOUT": "600"}
POLL_S = 0.2
GRACE_S = 10.0  # for the others after one has failed
# For the others after one has stopped at a signal: the first rank may be writing a checkpoint
SAVING_S = 600.0
# Of a worker that has told its user what to mend
SAID = (UserError.exit_status, DivergedError.exit_status)


def world_size(cfg: HardwareConfig) -> int:
    """Processes of the whole run, on all nodes."""
    return cfg.device_num * cfg.node_num


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

    When one fails, the others are stopped, for they would wait for it for ever.
    """
    port = cfg.master_port or free_port()
    processes: dict[str, Process] = {}
    try:
        with forwarding_signals() as workers:
            for rank, environment in environments(cfg, port=port).items():
                processes[rank] = start(command, {**TIMEOUT, **os.environ, **environment})
                if rank != SCHEDULER:  # the workers meet through it, so it outlives them
                    workers.append(processes[rank])
                    cores = share_of_cores(len(workers) - 1, places=cfg.device_num)
                    bind(processes[rank].pid, cores)
            return _wait(processes)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def environments(cfg: HardwareConfig, *, port: int) -> dict[str, dict[str, str]]:
    """What each of this node's processes finds in its environment, by rank."""
    first = cfg.node_rank * cfg.device_num
    size = str(world_size(cfg))
    own = {
        str(first + card): {
            RANK: str(first + card),
            "RANK_ID": str(first + card),
            "DEVICE_ID": str(card),
        }
        for card in range(cfg.device_num)
    }
    if _has_rank_table(cfg.device_target):
        return {rank: {**each, "RANK_SIZE": size} for rank, each in own.items()}
    meeting = {"MS_WORKER_NUM": size, "MS_SCHED_HOST": cfg.master_addr, "MS_SCHED_PORT": str(port)}
    found = (
        {SCHEDULER: {**meeting, RANK: SCHEDULER, "MS_ROLE": "MS_SCHED"}}
        if cfg.node_rank == 0
        else {}
    )
    return found | {
        rank: {**each, **meeting, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": rank}
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

    `UserError` if they do not find each other.
    """
    from mindspore.communication import init

    try:
        init()
    except RuntimeError as error:
        raise UserError(
            f"the processes of this run did not find each other: {str(error).splitlines()[0]}"
        ) from error


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(processes: dict[str, Process]) -> int:
    """Until every worker is done, or one has failed and the others had time to end."""
    workers = {rank: process for rank, process in processes.items() if rank != SCHEDULER}
    failed = _first_failed(workers)
    if failed is None:
        return 0
    status = shell_status(workers[failed].returncode)
    deadline = time.monotonic() + (SAVING_S if status in STOPPED else GRACE_S)
    while time.monotonic() < deadline and any(worker.poll() is None for worker in workers.values()):
        time.sleep(POLL_S)
    if status not in (*STOPPED, *SAID):
        how = (
            f"was killed by signal {status - 128}"
            if status > 128
            else f"ended with exit status {status}"
        )
        print(
            f"rank {failed} of {len(workers)} on this node {how}; the other ranks were stopped. "
            "What went wrong stands above or in launch.log; to go on, run the same again",
            file=sys.stderr,
        )
    return status


def _first_failed(workers: dict[str, Process]) -> str | None:
    """The rank of a worker that has failed, as soon as there is one; None if all do well."""
    while True:
        codes = {rank: worker.poll() for rank, worker in workers.items()}
        failed = [rank for rank, code in codes.items() if code]
        if failed:
            return failed[0]
        if all(code == 0 for code in codes.values()):
            return None
        time.sleep(POLL_S)


def log_name() -> Path:
    """The log file of this process inside a run directory."""
    return Path("launch.log" if own_rank() == 0 else f"launch.rank{os.environ[RANK]}.log")
