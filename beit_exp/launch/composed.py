"""What is done with composed settings: a run of its own, or a job of a sweep."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from beit_exp.config.schema import Config
from beit_exp.errors import DivergedError
from beit_exp.hardware.cores import share_of_machine
from beit_exp.hardware.meeting import Started
from beit_exp.hardware.nodes import find_place
from beit_exp.hardware.process import Process
from beit_exp.hardware.waiting import have_one_wait, run_worker
from beit_exp.launch import sweep
from beit_exp.launch.at_once import ending_with_sweep
from beit_exp.launch.job import do_job, work_alone
from beit_exp.launch.overrides import adopt_run
from beit_exp.launch.run_directory import mark_failed
from beit_exp.tracking.mlflow_store import resolve_uri
from beit_exp.tracking.records import read_sweep
from beit_exp.tracking.run_name import OVERRIDES


class LaunchError(CompactHydraException):
    """Ends a job of a sweep, not the sweep; shown by Hydra as its message alone."""


def do_composed(raw: DictConfig) -> float | None:
    """Do the run; of a job of a sweep, returns the objective."""
    composed = HydraConfig.get()
    os.environ[OVERRIDES] = shlex.join(composed.overrides.task)
    if composed.mode == RunMode.MULTIRUN:
        return run_in_sweep(raw, composed)
    run_alone(raw, composed)
    return None


def run_alone(raw: DictConfig, composed: HydraConf) -> None:
    """A run of its own: ends the process by its exit status, if that is not 0."""
    outcome = do_job(
        lambda: typed_settings(raw, composed, run_dir=Path(composed.runtime.output_dir)),
        Path(composed.runtime.output_dir),
        work=work_alone,
        repeats=True,
        typed=list(composed.overrides.task),
    )
    if outcome.exit_status != 0:
        sys.exit(outcome.exit_status)


def run_in_sweep(raw: DictConfig, composed: HydraConf) -> float:
    """A job of a sweep: returns its objective; one that fails is marked and lets the others run.

    A search learns from a training that diverges, so to it that is a result: the worst.
    """
    sweep_dir = Path(composed.sweep.dir)
    swept = sweep.swept_values(sweep_dir, list(composed.overrides.task))
    name = sweep.job_folder(swept)
    run_dir = Path(composed.runtime.output_dir) / name

    def settings() -> dict[str, Any]:
        values = typed_settings(raw, composed)
        sweep.place_under_parent(values, sweep_dir, swept=swept)
        return values

    def work(cfg: Config, run_dir: Path, started: Started) -> int:
        jobs = int(composed.launcher.get("n_jobs", 1))  # of joblib
        as_one_of_several = ending_with_sweep() if jobs != 1 else nullcontext()
        share = share_of_machine(sweep_dir, jobs=jobs, device_num=cfg.hardware.device_num)

        def begun(worker: Process) -> None:
            started(worker)
            if is_followed(composed):
                with suppress(OSError):  # of a machine that is full: the next one starts by itself
                    have_one_wait(cfg)

        with as_one_of_several, share:
            return run_worker(run_dir, in_sweep=True, started=begun)

    outcome = do_job(settings, run_dir, work=work, repeats=False)
    if outcome.was_done:
        print(f"{name} is done")
    if outcome.message and not (run_dir / "config.yaml").exists():  # else it is another run's
        mark_failed(run_dir, outcome.exit_status, outcome.message)
    is_result = outcome.exit_status == DivergedError.exit_status and "direction" in composed.sweeper
    if outcome.exit_status != 0 and not is_result:
        ended = f"the run in {run_dir} ended with exit status {outcome.exit_status}"
        raise LaunchError(outcome.message or ended)
    return outcome.objective


def is_followed(composed: HydraConf) -> bool:
    """Whether this process will do another job of the sweep after this one."""
    in_turn = composed.runtime.choices["hydra/launcher"] == "basic"
    return in_turn and composed.job.num + 1 < read_sweep(Path(composed.sweep.dir))["jobs"]


def typed_settings(
    raw: DictConfig, composed: HydraConf, *, run_dir: Path | None = None
) -> dict[str, Any]:
    """What was typed, over the settings of the run that it names as `checkpoint`.

    Or else over those of the run that is in `run_dir`.
    """
    values = adopt_run(raw, list(composed.overrides.task), run_dir=run_dir)
    values["tracking"]["uri"] = resolve_uri(values["tracking"]["uri"])
    place = find_place(os.environ)
    if values["hardware"]["node_num"] is None:
        values["hardware"]["node_num"] = 1 if place is None else place.nodes
    return values
