"""One job, from its settings to its end: a run alone and a job of a sweep are the same here."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import build_config, load_config
from beit_exp.config.objective import worst_value
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.meeting import Started
from beit_exp.hardware.process import STOPPED
from beit_exp.hardware.terminal import complain
from beit_exp.hardware.waiting import run_worker
from beit_exp.launch.run_directory import (
    check_alone,
    check_files,
    check_split_images,
    last_error,
    mark_failed,
    prepare,
)
from beit_exp.launch.together import meeting_others, share_directory
from beit_exp.launch.tokenizer_first import tokenizer_run, trains_tokenizer_first
from beit_exp.report.runs import FAILED_FILE
from beit_exp.storage.files import writing
from beit_exp.train.pruning import check_pruning

Settings = Callable[[], dict[str, Any]]  # composes them; what it raises is for the user
# Settings, run directory, what is given the worker -> its exit status
Work = Callable[[Config, Path, Started], int]


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    exit_status: int  # 0: done; 2 with a message: nothing was begun; else the worker's
    objective: float = math.nan  # what a sweep compares; the worst there is if a worker failed
    message: str = ""  # what the user can mend in the settings
    was_done: bool = False  # by an earlier job, so no worker ran


def do_job(
    settings: Settings,
    run_dir: Path,
    *,
    work: Work,
    repeats: bool,
    typed: Sequence[str] | None = None,
) -> Outcome:
    """Check the settings, write them to the run directory, and do the work there.

    With `repeats` a worker also goes over a run that is done; `typed` are the overrides of the
    command, unless a sweep made them. What the user can mend is shown, and
    a failed worker's last error is left in the run directory.
    """
    try:
        cfg = build_config(settings())
        with meeting_others(cfg) as meeting:
            is_done = meeting.first_does(lambda: make_ready(cfg, run_dir, typed=typed))
            was_done = is_done and not repeats
            if not was_done:
                share_directory(meeting, cfg, run_dir)
            status = 0 if was_done else meeting.supervise(partial(work, cfg, run_dir))
    except UserError as error:
        with contextlib.suppress(OSError):
            run_dir.rmdir()  # only if nothing is in it
        complain(error)
        return Outcome(error.exit_status, message=str(error))
    if status == 0:
        # The directory of another node may be one of its own, without a result
        value = objective(cfg, run_dir) if meeting.is_first else math.nan
        return Outcome(0, value, was_done=was_done)
    if meeting.is_first and status not in STOPPED:
        told = (meeting.failure and meeting.failure[1]) or last_error(run_dir)
        mark_failed_if_alone(run_dir, status, told or f"exit status {status}")
    return Outcome(status, worst_value(cfg.objective))


def work_alone(_: Config, run_dir: Path, started: Started) -> int:
    """The `Work` of a run that is no job of a sweep."""
    return run_worker(run_dir, in_sweep=False, started=started)


def resume(run_dir: Path) -> int:
    """Do, or go on with, the run of a directory with its own settings; returns an exit status."""
    outcome = do_job(
        lambda: load_config(run_dir / "config.yaml").model_dump(),
        run_dir,
        work=work_alone,
        repeats=True,
    )
    return outcome.exit_status


def make_ready(cfg: Config, run_dir: Path, *, typed: Sequence[str] | None) -> bool:
    """Refuse what cannot work, then write the run directory; returns whether its run is done."""
    check_files(cfg)
    check_split_images(cfg)
    check_pruning(cfg, run_dir)
    if trains_tokenizer_first(cfg):
        tokenizer_run(cfg, run_dir)  # refuses wrong settings
    with writing(run_dir):
        check_alone(run_dir)
        is_done = prepare(cfg, run_dir, typed=typed)
        (run_dir / FAILED_FILE).unlink(missing_ok=True)
        return is_done


def mark_failed_if_alone(run_dir: Path, status: int, message: str) -> None:
    """Leave why there is no result, unless another process is at work there: it will leave one."""
    if not run_dir.is_dir():  # moved or deleted meanwhile
        return
    try:
        check_alone(run_dir)
        mark_failed(run_dir, status, message)
    except UserError:
        pass
    except OSError as error:
        print(f"{run_dir} cannot be written: {error.strerror}", file=sys.stderr)


def objective(cfg: Config, run_dir: Path) -> float:
    """The metric that a sweep compares, as a finite number: searches stop at others."""
    value = float(json.loads((run_dir / "metrics.json").read_text()).get(cfg.objective, math.nan))
    return value if math.isfinite(value) else worst_value(cfg.objective)
