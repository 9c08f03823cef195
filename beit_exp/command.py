"""The command: compose the configuration, check it, and run a worker on it in a run directory.

python launch.py                                        the quickstart
python launch.py optimizer.base_lr=3e-5                 one setting changed
python launch.py experiment=imagenet_base               a published recipe
python launch.py -m optimizer.layer_decay=0.65,0.75     a sweep

What help or a refusal can do without is imported after them.
"""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra

from beit_exp.config.chinese import bilingual
from beit_exp.config.command_line import FLAGS, PROGRAM
from beit_exp.errors import UserError
from beit_exp.hardware.terminal import complain, show, take_any_text
from beit_exp.launch.arguments import hydra_arguments, parse_arguments, program_typed
from beit_exp.launch.composition import CONF, CONFIG_NAME, build_lookup

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from beit_exp.config.schema import Config
    from beit_exp.tracking.records import Status

LAUNCH = "BEIT_EXP_LAUNCH"
JOB = "BEIT_EXP_JOB"  # names the run directory of a job of several nodes, on each alike


def main() -> None:
    """Entry point.

    Exit status 0: done; 1: a sweep's job failed; 2: a wrong setting; else the worker's.
    """
    take_any_text()
    os.environ |= {PROGRAM: program_typed(sys.argv[0]), FLAGS: ""}
    # In the names of run directories: two commands may share a second
    os.environ[LAUNCH] = os.urandom(2).hex()
    os.environ.pop(JOB, None)
    try:
        is_answered = answer()
        cfg = None if is_answered else check()
    except UserError as error:
        complain(error)
        sys.exit(error.exit_status)
    finally:
        gc.freeze()  # no garbage either, be it to look for now or at the end of the process
    if not is_answered:
        gc.enable()
        run(cfg)


def answer() -> bool:
    """Answer what asks for no run; returns whether it was that."""
    from beit_exp.launch.help_text import help_text, version_text

    if "--version" in sys.argv:
        print(version_text())
        return True
    sys.argv[1:] = hydra_arguments(sys.argv[1:])
    typed = parse_arguments(sys.argv[1:])
    if typed.help:
        show(bilingual(help_text(build_lookup(typed)), sys.stdout))
    return bool(typed.help)


def check() -> Config | None:
    """Refuse what cannot be, by `UserError`; returns the settings of a run of its own."""
    from beit_exp.hardware.nodes import find_place
    from beit_exp.launch.overrides import check_overrides

    typed = parse_arguments(sys.argv[1:])
    if typed.config_dir is not None:
        os.environ[FLAGS] = shlex.join(["--config-dir", os.path.abspath(typed.config_dir)])
    place = find_place(os.environ)
    if place is not None and place.job is not None:
        os.environ[JOB] = place.job
    return check_overrides(typed)


def run(cfg: Config | None) -> None:
    """Do what was typed, a run with settings `cfg` or a sweep, and end what that has begun."""
    from beit_exp.hardware.process import heard_stops
    from beit_exp.hardware.waiting import dismissing_waiting, have_one_wait
    from beit_exp.launch import sweep
    from beit_exp.launch.at_once import SWEEP_PID

    os.environ[SWEEP_PID] = str(os.getpid())
    for number in heard_stops():
        signal.signal(number, end_by)
    status: Status = "KILLED"
    try:
        with dismissing_waiting():
            if cfg is not None:
                have_one_wait(cfg)
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
    from beit_exp.hardware.process import shell_status
    from beit_exp.launch import sweep
    from beit_exp.launch.at_once import stop_jobs

    if sweep.SWEEP_DIR in os.environ:
        stop_jobs(Path(os.environ[sweep.SWEEP_DIR]))
    sys.exit(shell_status(-number))


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)
def compose_and_run(raw: DictConfig) -> float | None:
    """What Hydra does with composed settings; of a job of a sweep, returns the objective."""
    from beit_exp.launch.composed import do_composed

    return do_composed(raw)
