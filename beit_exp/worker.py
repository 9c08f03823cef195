"""A worker process: run, or resume, the run in a directory. `python -m beit_exp.worker RUN_DIR`."""

from __future__ import annotations

import atexit
import errno
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn, cast

from typing_extensions import assert_never

from beit_exp.config.command_line import module_command
from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config
from beit_exp.config.task_name import TaskName
from beit_exp.errors import Interrupted, UserError
from beit_exp.hardware import cluster
from beit_exp.hardware.device import Runtime, device_name, start_device
from beit_exp.hardware.ending import tell
from beit_exp.hardware.log import leave_terminal, set_up_logging
from beit_exp.hardware.memory import are_threads_refused, is_memory_refused
from beit_exp.hardware.nodes import check_place, find_place
from beit_exp.hardware.process import (
    LAUNCHER,
    handle_stops,
    hear_interrupts_apart,
    shell_status,
    worker_command,
    worker_environment,
)
from beit_exp.hardware.terminal import complain, take_any_text
from beit_exp.hardware.waiting import await_order, is_waiting
from beit_exp.launch.job import resume
from beit_exp.launch.tokenizer_first import train_tokenizer, trains_tokenizer_first
from beit_exp.report.runs import FAILED_FILE
from beit_exp.storage.files import write_atomically
from beit_exp.storage.lock import locking
from beit_exp.storage.temporary import temporary_folder
from beit_exp.tracking.tracker import Tracker, open_tracker
from beit_exp.train.stop import listening, until_stopped

logger = logging.getLogger(__name__)
PARENT_POLL_S = 1.0
SPARE_FILES = 16
# Settings, run directory -> final metrics
Task = Callable[[Config, Path, Runtime, Tracker], dict[str, float]]
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: list[str]) -> int:
    """Run the worker; returns its exit status.

    0: done; 1: an error of ours; 2: something the user can mend; 3: diverged; 128 + n: signal n.
    """
    take_any_text()
    if is_waiting():
        ordered = await_order(partial(find_task, cast(TaskName, arguments[0])))
        if ordered is None:
            return 0
        arguments = [str(ordered)]
    if len(arguments) != 1:
        print("usage: python -m beit_exp.worker RUN_DIR", file=sys.stderr)
        return 2
    run_dir = Path(arguments[0])
    try:
        temporary_folder()
        cfg = load_config(run_dir / "config.yaml")
        place, by_hand = find_place(os.environ), LAUNCHER not in os.environ
        if by_hand:
            node_num, device_num = cfg.hardware.node_num, cfg.hardware.device_num
            check_place(place, node_num=node_num, device_num=device_num)
    except UserError as error:
        complain(error)
        return 2
    # Once more, in the environment that libraries need
    if by_hand:
        if place is not None:
            return until_stopped(lambda: resume(run_dir))
        os.execve(sys.executable, worker_command(run_dir), worker_environment())
    stop_with_parent()
    if cluster.is_scheduler():  # it ends when the ranks have left, and no sooner
        return schedule()
    return until_stopped(lambda: work(cfg, run_dir))


def schedule() -> int:
    """Be MindSpore's scheduler; returns an exit status."""
    try:
        cluster.join()
    except UserError as error:
        complain(error)
        return error.exit_status
    return 0


def work(cfg: Config, run_dir: Path) -> int:
    """Do the run of a directory, or start the processes that do it; returns an exit status."""
    if trains_tokenizer_first(cfg) and not cluster.is_member():
        status = train_tokenizer(cfg, run_dir)
        if status != 0:
            return status
    if cluster.world_size(cfg.hardware) > 1 and not cluster.is_member():
        return cluster.run(cfg.hardware, worker_command(run_dir))
    is_leader = cluster.own_rank() == 0
    set_up_logging(run_dir, is_leader=is_leader)
    try:
        with locking(run_dir / cluster.log_name()):
            track_task(cfg, run_dir, is_leader=is_leader)
    except UserError as error:
        logger.error("%s", error)
        return error.exit_status
    except Interrupted as stop:
        if is_leader:
            logger.warning("stopped by a signal; to go on: %s", module_command("worker", run_dir))
        return shell_status(-stop.signal_number)
    except Exception as error:
        return tell_failure(error, run_dir)
    return 0


def tell_failure(error: Exception, run_dir: Path) -> int:
    """Say what ended the run, where it is no error of a setting; returns the exit status."""
    again = module_command("worker", run_dir)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        logger.error("the disk is full (%s); free some space, then: %s", error, again)
        return 2
    if are_files_refused(error):
        mend = "let more be open at once (ulimit -n), then"
        logger.error("too many files are open (%s); %s: %s", error, mend, again)
        return 2
    if are_threads_refused(error):
        mend = "allow more (ulimit -u), or free some memory, then"
        logger.error("no further thread could be started (%s); %s: %s", error, mend, again)
        return 2
    if is_memory_refused(error):
        first = (str(error).splitlines() or ["MemoryError"])[0]
        mend = "free some memory, or take a smaller train.batch_size, then"
        logger.error("there is not enough memory (%s); %s: %s", first, mend, again)
        return 2
    logger.exception("the run in %s failed", run_dir)
    return 1


def are_files_refused(error: Exception) -> bool:
    """Whether about as many files are open as may be: libraries tell it by errors of other names,
    and have closed theirs by now.
    """
    try:
        with ExitStack() as spare:
            for _ in range(SPARE_FILES):
                spare.enter_context(open(os.devnull))
    except OSError as refused:
        error = refused
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def track_task(cfg: Config, run_dir: Path, *, is_leader: bool) -> None:
    """Do the task with a tracker, and leave its final metrics."""
    if is_leader:
        logger.info("%s in %s", cfg.task, run_dir)
        logger.info("starting" if "mindspore" in sys.modules else "starting: importing MindSpore")
    with ExitStack() as ending, open_tracker(cfg, run_dir, is_leader=is_leader) as tracker:
        metrics = run_task(cfg, run_dir, tracker)
        tracker.sync()
        ending.enter_context(listening())  # it is done, and told whole: a signal comes too late
        if is_leader:
            write_atomically(run_dir / "metrics.json", json.dumps(metrics, indent=1).encode())
            (run_dir / FAILED_FILE).unlink(missing_ok=True)  # of an earlier process
            tracker.log_file(run_dir / "metrics.json")


def run_task(cfg: Config, run_dir: Path, tracker: Tracker) -> dict[str, float]:
    """Start the device and do the task; returns its final metrics."""
    with listening() as stop:  # an exception inside of MindSpore's first import would abort
        convolves = cfg.task in ("pretrain", "train_tokenizer") and cfg.tokenizer.kind == "dvae"
        runtime = start_device(cfg.hardware, seed=cfg.seed, convolves=convolves)
    stop.check()
    tracker.log_facts(tags={"device": device_name(runtime)})
    return find_task(cfg.task)(cfg, run_dir, runtime, tracker)


def find_task(name: TaskName) -> Task:
    """The task of that name; no other is imported, for each brings libraries of its own."""
    match name:
        case "finetune":
            from beit_exp.tasks import finetune

            return finetune.run
        case "pretrain":
            from beit_exp.tasks import pretrain

            return pretrain.run
        case "train_tokenizer":
            from beit_exp.tasks import train_tokenizer

            return train_tokenizer.run
        case "evaluate":
            from beit_exp.tasks import evaluate

            return evaluate.run
        case "predict":
            from beit_exp.tasks import predict

            return predict.run
        case "explain":
            from beit_exp.tasks import explain

            return explain.run
        case "features":
            from beit_exp.tasks import features

            return features.run
        case "probe":
            from beit_exp.tasks import probe

            return probe.run
        case "export":
            from beit_exp.tasks import export

            return export.run
        case "soup":
            from beit_exp.tasks import soup

            return soup.run
        case "check_data":
            from beit_exp.tasks import check_data

            return check_data.run
        case "benchmark":
            from beit_exp.tasks import benchmark

            return benchmark.run
        case _:
            assert_never(name)


def stop_with_parent() -> None:
    """End as by SIGTERM, checkpoint and all, when the process that started this one is gone."""
    parent = int(os.environ.get(LAUNCHER, os.getpid()))
    if parent == os.getpid():  # started by hand
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        if cluster.is_scheduler():
            os._exit(shell_status(-signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def leave(status: int) -> NoReturn:
    """End the process by `status`, once all is written, whatever the clean-up of libraries does.

    MindSpore leaves its cluster in a function of `atexit`, and the other processes wait for that.
    What C++ would do afterwards frees what goes with the process anyway. Either crashes now and
    then, under threads that still run: a run that is done would count as failed.
    """
    handle_stops(lambda *_: os._exit(status))  # all is done: what asks to stop has its will
    sys.stdout.flush()
    sys.stderr.flush()
    tell(status)
    if cluster.is_member():
        leave_terminal()
    faulthandler.disable()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    faulthandler.enable()
    hear_interrupts_apart()
    leave(main(sys.argv[1:]))
