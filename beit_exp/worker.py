"""A worker process: run, or resume, the run in a directory. `python -m beit_exp.worker RUN_DIR`."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from typing_extensions import assert_never

from beit_exp import cluster, config, hardware, stages, tracking
from beit_exp.config import Config, UserError
from beit_exp.files import write_atomically
from beit_exp.tracking import Interrupted, Tracker

logger = logging.getLogger(__name__)
PARENT_POLL_S = 1.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: list[str]) -> int:
    """Exit status 0: done; 1: an error of ours; 2: something the user can mend; 3: diverged; 128 + n: signal n."""
    if len(arguments) != 1:
        print("usage: python -m beit_exp.worker RUN_DIR", file=sys.stderr)
        return 2
    run_dir = Path(arguments[0])
    try:
        cfg = config.load(run_dir / "config.yaml")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if hardware.LAUNCHER not in os.environ:  # started by hand: once more, in the environment that libraries need
        os.execve(sys.executable, hardware.worker_command(run_dir), hardware.worker_environment())
    stop_with_parent()
    if stages.trains_tokenizer_first(cfg) and not cluster.is_member():
        status = stages.train_tokenizer(cfg, run_dir)
        if status != 0:
            return status
    if cluster.is_scheduler():
        cluster.join()
        return 0
    if cluster.world_size(cfg.hardware) > 1 and not cluster.is_member():
        return cluster.run(cfg.hardware, hardware.worker_command(run_dir))
    is_leader = cluster.own_rank() == 0
    set_up_logging(run_dir, is_leader=is_leader)
    try:
        lock = lock_log(run_dir)
        with tracking.start(cfg, run_dir, is_leader=is_leader) as tracker:
            metrics = run_task(cfg, run_dir, tracker)
            if is_leader:
                write_atomically(run_dir / "metrics.json", json.dumps(metrics, indent=1).encode())
                tracker.log_file(run_dir / "metrics.json")
    except UserError as error:
        logger.error("%s", error)
        return error.exit_status
    except Interrupted as stop:
        if is_leader:
            logger.warning("stopped by a signal; to go on: python -m beit_exp.worker %s", run_dir)
        return 128 + stop.signal_number
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            logger.error("the disk is full (%s); free some space, then: python -m beit_exp.worker %s", error, run_dir)
            return 2
        logger.exception("the run in %s failed", run_dir)
        return 1
    lock.close()
    return 0


def run_task(cfg: Config, run_dir: Path, tracker: Tracker) -> dict[str, float]:
    """Start the device and do the task; returns its final metrics."""
    runtime = hardware.start(cfg.hardware, seed=cfg.seed)
    tracker.log_facts(tags={"device": hardware.device_name(runtime)})
    match cfg.task:
        case "finetune":
            from beit_exp.tasks import finetune as task
        case "pretrain":
            from beit_exp.tasks import pretrain as task  # type: ignore[no-redef]
        case "train_tokenizer":
            from beit_exp.tasks import train_tokenizer as task  # type: ignore[no-redef]
        case "evaluate":
            from beit_exp.tasks import evaluate as task  # type: ignore[no-redef]
        case "predict":
            from beit_exp.tasks import predict as task  # type: ignore[no-redef]
        case "explain":
            from beit_exp.tasks import explain as task  # type: ignore[no-redef]
        case "export":
            from beit_exp.tasks import export as task  # type: ignore[no-redef]
        case "check_data":
            from beit_exp.tasks import check_data as task  # type: ignore[no-redef]
        case "benchmark":
            from beit_exp.tasks import benchmark as task  # type: ignore[no-redef]
        case _:
            assert_never(cfg.task)
    return task.run(cfg, run_dir, runtime, tracker)


def stop_with_parent() -> None:
    """End as by SIGTERM, checkpoint and all, if the process that started this one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ.get(hardware.LAUNCHER) == str(parent) or cluster.is_member():
        threading.Thread(target=watch, name="parent", daemon=True).start()


def lock_log(run_dir: Path) -> TextIO:
    """Be alone in a run directory, as long as the returned file is open: two workers would ruin each other's files."""
    log = (run_dir / cluster.log_name()).open("a")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process is at work in {run_dir}: wait for its end, or choose another hydra.run.dir"
        ) from None
    return log


class Screen(logging.Handler):
    """Plain lines on standard output, above the progress line where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def set_up_logging(run_dir: Path, *, is_leader: bool) -> None:
    """Plain lines to the terminal and, with times, to launch.log; of the other ranks, errors alone to the terminal."""
    screen = Screen(logging.NOTSET if is_leader else logging.ERROR)
    screen.setFormatter(logging.Formatter("%(message)s"))
    file = logging.FileHandler(run_dir / cluster.log_name())
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[screen, file])
    logging.getLogger("beit_exp").setLevel(logging.INFO)
    logging.getLogger("__main__").setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
