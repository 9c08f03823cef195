"""The command: compose the configuration, check it, write it to a run directory, and run a worker
on it.

python launch.py                                        the quickstart
python launch.py optimizer.base_lr=3e-5                 one setting changed
python launch.py experiment=imagenet_base               a published recipe
python launch.py -m optimizer.layer_decay=0.65,0.75     a sweep
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from beit_exp.config.mapping import build_config
from beit_exp.config.objective import worst_value
from beit_exp.config.schema import Config
from beit_exp.errors import DivergedError, UserError
from beit_exp.hardware.cores import share_of_machine
from beit_exp.hardware.process import STOPPED, run_worker, shell_status
from beit_exp.launch import sweep
from beit_exp.launch.overrides import CONF, adopt_run, check_overrides
from beit_exp.launch.run_directory import check_files, last_error, mark_failed, prepare
from beit_exp.launch.tokenizer_first import tokenizer_run, trains_tokenizer_first
from beit_exp.report.runs import FAILED_FILE
from beit_exp.tracking.mlflow_store import resolve_uri
from beit_exp.tracking.records import Status

LAUNCH = "BEIT_EXP_LAUNCH"


class LaunchError(CompactHydraException):
    """Shown by Hydra as its message alone."""


def main() -> None:
    """Entry point.

    Exit status 0: done; 1: a sweep's job failed; 2: a wrong setting; else the worker's.
    """
    # In the names of run directories: two commands may share a second
    os.environ[LAUNCH] = secrets.token_hex(2)
    check_overrides(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(shell_status(-number)))
    status: Status = "KILLED"
    try:
        compose_and_run()
        status = "FINISHED"
    except SystemExit as stop:
        status = "FAILED" if stop.code in (1, 2) else "KILLED"
        raise
    finally:
        if sweep.SWEEP_DIR in os.environ:
            sweep.finish(Path(os.environ[sweep.SWEEP_DIR]), status)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def compose_and_run(raw: DictConfig) -> float:
    """One job: returns the objective that a sweeper compares."""
    composed = HydraConfig.get()
    is_sweep = composed.mode == RunMode.MULTIRUN
    overrides = list(composed.overrides.task)
    run_dir = Path(composed.runtime.output_dir)
    sweep_dir = Path(composed.sweep.dir)
    if is_sweep:
        run_dir /= sweep.job_name(sweep_dir, overrides)
    try:
        values = adopt_run(raw, overrides)
        values["tracking"]["uri"] = resolve_uri(values["tracking"]["uri"])
        if is_sweep:
            sweep.place_under_parent(values, sweep_dir, name=run_dir.name)
        cfg = build_config(values)
        check_files(cfg)
        if trains_tokenizer_first(cfg):
            tokenizer_run(cfg, run_dir)  # refuses wrong settings
        is_done = prepare(cfg, run_dir)
    except UserError as error:
        if is_sweep and not (run_dir / "config.yaml").exists():
            mark_failed(run_dir, 2, str(error))
        with contextlib.suppress(OSError):
            run_dir.rmdir()  # only if nothing is in it
        print(error, file=sys.stderr)
        fail(str(error), 2, is_sweep=is_sweep)
    if is_sweep and is_done:
        print(f"{run_dir.name} is done")
        return objective(cfg, run_dir)
    (run_dir / FAILED_FILE).unlink(missing_ok=True)
    if is_sweep:
        jobs = int(composed.launcher.get("n_jobs", 1))  # of joblib
        with share_of_machine(sweep_dir, jobs=jobs, device_num=cfg.hardware.device_num):
            code = run_worker(run_dir)
    else:
        code = run_worker(run_dir)
    if code not in (0, *STOPPED):
        mark_failed(run_dir, code, last_error(run_dir) or f"exit status {code}")
    if code == DivergedError.exit_status and is_sweep and "direction" in composed.sweeper:
        return worst_value(cfg.objective)  # a search learns from it, so it is a result
    if code != 0:
        fail(f"the run in {run_dir} ended with exit status {code}", code, is_sweep=is_sweep)
    return objective(cfg, run_dir)


def objective(cfg: Config, run_dir: Path) -> float:
    """The metric that a sweep compares, as a finite number: searches stop at others."""
    value = float(json.loads((run_dir / "metrics.json").read_text()).get(cfg.objective, math.nan))
    return value if math.isfinite(value) else worst_value(cfg.objective)


def fail(message: str, code: int, *, is_sweep: bool) -> NoReturn:
    """End this job: of a sweep, by an exception that lets the other jobs run; alone, by its exit
    status.
    """
    if is_sweep:
        raise LaunchError(message)
    sys.exit(code)
