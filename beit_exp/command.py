"""The command: compose the configuration, check it, and run a worker on it in a run directory.

python launch.py                                        the quickstart
python launch.py optimizer.base_lr=3e-5                 one setting changed
python launch.py experiment=imagenet_base               a published recipe
python launch.py -m optimizer.layer_decay=0.65,0.75     a sweep
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from beit_exp.config.command_line import FLAGS, PROGRAM
from beit_exp.config.schema import Config
from beit_exp.errors import DivergedError, UserError
from beit_exp.hardware.cores import share_of_machine
from beit_exp.hardware.meeting import Started
from beit_exp.hardware.nodes import find_place
from beit_exp.hardware.process import heard_stops, run_worker, shell_status
from beit_exp.hardware.terminal import take_any_text
from beit_exp.launch import sweep
from beit_exp.launch.arguments import hydra_arguments, parse_arguments, program_typed
from beit_exp.launch.at_once import SWEEP_PID, ending_with_sweep, stop_jobs
from beit_exp.launch.composition import CONF, CONFIG_NAME, build_lookup
from beit_exp.launch.help_text import help_text, version_text
from beit_exp.launch.overrides import adopt_run, check_overrides
from beit_exp.storage.passwords import hide_password
from beit_exp.tracking.mlflow_store import resolve_uri
from beit_exp.tracking.records import Status
from beit_exp.tracking.run_name import OVERRIDES

LAUNCH = "BEIT_EXP_LAUNCH"
JOB = "BEIT_EXP_JOB"  # names the run directory of a job of several nodes, on each alike


class LaunchError(CompactHydraException):
    """Ends a job of a sweep, not the sweep; shown by Hydra as its message alone."""


def main() -> None:
    """Entry point.

    Exit status 0: done; 1: a sweep's job failed; 2: a wrong setting; else the worker's.
    """
    take_any_text()
    os.environ |= {PROGRAM: program_typed(sys.argv[0]), FLAGS: ""}
    # In the names of run directories: two commands may share a second
    os.environ |= {LAUNCH: secrets.token_hex(2), SWEEP_PID: str(os.getpid())}
    os.environ.pop(JOB, None)
    if "--version" in sys.argv:
        print(version_text())
        return
    try:
        sys.argv[1:] = hydra_arguments(sys.argv[1:])
        typed = parse_arguments(sys.argv[1:])
        if typed.help:
            print(help_text(build_lookup(typed)))
            return
        if typed.config_dir is not None:
            os.environ[FLAGS] = shlex.join(["--config-dir", os.path.abspath(typed.config_dir)])
        place = find_place(os.environ)
        if place is not None and place.job is not None:
            os.environ[JOB] = place.job
        check_overrides(typed)
    except UserError as error:
        print(hide_password(str(error)), file=sys.stderr)
        sys.exit(error.exit_status)
    for number in heard_stops():
        signal.signal(number, end_by)
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


def end_by(number: int, _: object) -> None:
    """End the command by a signal, once the jobs that it started at once have saved."""
    if sweep.SWEEP_DIR in os.environ:
        stop_jobs(Path(os.environ[sweep.SWEEP_DIR]))
    sys.exit(shell_status(-number))


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)
def compose_and_run(raw: DictConfig) -> float | None:
    """What Hydra does with composed settings; of a job of a sweep, returns the objective."""
    composed = HydraConfig.get()
    os.environ[OVERRIDES] = shlex.join(composed.overrides.task)
    if composed.mode == RunMode.MULTIRUN:
        return run_in_sweep(raw, composed)
    run_alone(raw, composed)
    return None


def run_alone(raw: DictConfig, composed: HydraConf) -> None:
    """A run of its own: ends the process by its exit status, if that is not 0."""
    # Brings NumPy, which `--help` need not wait for
    from beit_exp.launch.job import do_job, work_alone

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
    from beit_exp.launch.job import do_job
    from beit_exp.launch.run_directory import mark_failed

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
        with as_one_of_several, share:
            return run_worker(run_dir, in_sweep=True, started=started)

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
