"""The command: compose the configuration, check it, write it to a run directory, and run a worker on it.

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
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from beit_exp import complaints, config, hardware, stages, sweep
from beit_exp.config import Config, DivergedError, UserError
from beit_exp.cores import share_of_machine
from beit_exp.data.sources import check_folders
from beit_exp.files import write_atomically
from beit_exp.report.runs import FAILED_FILE
from beit_exp.storage import is_remote
from beit_exp.store import resolve_uri
from beit_exp.tracking import Status

HERE = Path(__file__).resolve().parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"  # in a wheel, in a clone
LAUNCH = "BEIT_EXP_LAUNCH"
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # by the user, who may go on
WORST_LOSS = 1e6
PLUGINS = {  # choice -> the package that brings it, and the extra that installs that
    "sweep=optuna": ("hydra_optuna_sweeper", "optuna"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "optuna"),
    "hydra/launcher=joblib": ("hydra_joblib_launcher", "joblib"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "submitit"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "submitit"),
}
FREE_ON_RESUME = (  # what changes neither the weights that a run arrives at nor its metrics
    "tracking.",
    "allow_changes",
    "hardware.num_parallel_workers",
    "hardware.node_rank",
    "hardware.master_",
    "train.keep_checkpoints",
    "train.checkpoint_url",
)


class LaunchError(CompactHydraException):
    """Shown by Hydra as its message alone."""


def main() -> None:
    """Entry point. Exit status 0: done; 1: a sweep's job failed; 2: a wrong setting; else the worker's."""
    os.environ[LAUNCH] = secrets.token_hex(2)  # in the names of run directories: two commands may share a second
    check_overrides(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
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
        cfg = config.from_mapping(values)
        check_files(cfg)
        if stages.trains_tokenizer_first(cfg):
            stages.tokenizer_run(cfg, run_dir)  # refuses wrong settings
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
        return worst(cfg)  # a search learns from it, so it is a result
    if code != 0:
        fail(f"the run in {run_dir} ended with exit status {code}", code, is_sweep=is_sweep)
    return objective(cfg, run_dir)


def objective(cfg: Config, run_dir: Path) -> float:
    """The metric that a sweep compares, as a finite number: searches stop at others."""
    value = float(json.loads((run_dir / "metrics.json").read_text()).get(cfg.objective, math.nan))
    return value if math.isfinite(value) else worst(cfg)


def worst(cfg: Config) -> float:
    return WORST_LOSS if cfg.objective.endswith("loss") else 0.0


def mark_failed(run_dir: Path, code: int, message: str) -> None:
    """Leave in a run directory why there is no result."""
    failure = {"exit_status": code, "message": message}
    write_atomically(run_dir / FAILED_FILE, json.dumps(failure, indent=1).encode())


def last_error(run_dir: Path) -> str | None:
    """The last error that a run's log tells."""
    log = run_dir / "launch.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    found = [line.partition(": ")[2] for line in lines if " ERROR " in line]
    return found[-1] if found else None


def fail(message: str, code: int, *, is_sweep: bool) -> NoReturn:
    """End this job: of a sweep, by an exception that lets the other jobs run; alone, by its exit status."""
    if is_sweep:
        raise LaunchError(message)
    sys.exit(code)


def check_overrides(arguments: list[str]) -> None:
    """Stop at overrides whose key is no setting or whose choice is no file, with whatever else is wrong beside them.

    Hydra would stop at the first of them and leave the values unread.
    """
    words = [word for word in arguments if not word.startswith("-") and "=" in word]
    if any(word in arguments for word in ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")):
        return  # the settings may come from elsewhere: Hydra's own checks must do
    overrides = []
    for word in words:
        try:
            overrides += OverridesParser.create().parse_overrides([word])
        except OverrideParseException as error:
            stop(f"{word} is no override: {str(error).splitlines()[0]}")
    for choice in PLUGINS.keys() & set(words):
        package, extra = PLUGINS[choice]
        if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{package}") is None:
            stop(f"{choice} needs another package: pip install -c .ci/constraints.txt -e '.[{extra}]'")
    known = set(config.keys())
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
    problems, sound = [], []
    for word, override in zip(words, overrides, strict=True):
        key = override.key_or_group
        if key in groups and isinstance(override.value(), str):
            options = sorted(path.stem for path in (CONF / key).glob("*.yaml"))
            if override.value() not in options:
                hint = complaints.nearest(str(override.value()), options)
                problems.append(f"{key} = {override.value()!r}: must be one of {', '.join(options)}.{hint}")
                continue
        elif not key.startswith(("hydra.", "hydra/", "tracking.tags.", "tokenizer.training.")) and key not in known:
            problems.append(complaints.unknown_key(key, config.known_keys()))
            continue
        sound.append(word)
    if not problems:
        return
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"), contextlib.suppress(HydraException):
        raw = OmegaConf.to_container(hydra.compose("config", sound), resolve=True)
        try:
            config.from_mapping(raw)  # type: ignore[arg-type]
        except config.WrongSettingsError as error:
            problems += error.problems
    stop(str(config.WrongSettingsError(problems)))


def stop(message: str) -> NoReturn:
    """End with a message for what the user can mend."""
    print(message, file=sys.stderr)
    sys.exit(2)


def adopt_run(raw: DictConfig, overrides: list[str]) -> dict[str, Any]:
    """The composed settings; where `checkpoint` is a run directory, that run's settings under this command's own.

    So `task=evaluate checkpoint=RUN` needs no repetition of the model and the data that the run was trained with.
    """
    try:
        values: Any = OmegaConf.to_container(raw, resolve=True)
    except Exception as error:
        raise UserError(str(error).splitlines()[0]) from error
    saved = Path(str(raw.checkpoint)) / "config.yaml"
    named = [override.key_or_group for override in OverridesParser.create().parse_overrides(overrides)]
    if raw.checkpoint is None or not saved.is_file() or "experiment" in named:
        return values
    adopted = config.read_mapping(saved)
    adopted["tracking"]["run_name"] = None
    for key in named:
        *sections, leaf = key.split(".")
        source, target = values, adopted
        for section in sections:
            source, target = source[section], target[section]
        target[leaf] = source[leaf]
    return adopted


def check_files(cfg: Config) -> None:
    """Refuse missing files before anything heavy starts."""
    needed = {"checkpoint": cfg.checkpoint}
    if cfg.task in ("finetune", "benchmark"):
        needed["model.pretrained"] = cfg.model.pretrained
    if cfg.task == "pretrain":
        needed["tokenizer.weights"] = cfg.tokenizer.weights
    for key, place in needed.items():
        if place is not None and not is_remote(place) and not Path(place).exists():
            raise UserError(f"{key} = {place!r}: there is no such file or run directory")
    if cfg.task == "export" and "onnx" in cfg.export.formats and not all(map(find_spec, ("onnx", "onnxruntime"))):
        raise UserError("export.formats: onnx needs other packages: pip install -c .ci/constraints.txt -e '.[onnx]'")
    if cfg.images is not None and not Path(cfg.images).exists():
        raise UserError(f"images = {cfg.images!r}: there is no such folder or file")
    if cfg.task in ("finetune", "pretrain", "train_tokenizer", "evaluate", "check_data"):
        check_folders(cfg.dataset)


def prepare(cfg: Config, run_dir: Path) -> bool:
    """Write the configuration, or find in the directory the same run to go on with; returns whether that is done."""
    path = run_dir / "config.yaml"
    if not path.exists():
        config.save(cfg, path)
        return False
    differing = {
        key: values
        for key, values in config.differences(config.load(path), cfg).items()
        if not key.startswith(FREE_ON_RESUME)
    }
    changed = {key: values for key, values in differing.items() if not key.startswith(tuple(cfg.allow_changes))}
    if changed:
        listed = [f"{key}: {old!r} there, {new!r} here" for key, (old, new) in sorted(changed.items())]
        raise UserError(
            "\n  ".join([f"{run_dir} holds another run; it can be resumed with its own settings alone:", *listed])
            + f"\nTo resume it as it is: python -m beit_exp.worker {run_dir}"
            + f"\nTo change them all the same: allow_changes=[{','.join(sorted(changed))}]"
        )
    config.save(cfg, path)
    return not differing and (run_dir / "metrics.json").exists()


def run_worker(run_dir: Path) -> int:
    """Run the worker to its end and pass on signals: the worker saves, this process only waits.

    Returns the worker's exit status; a signal to this process ends it too, and with it a whole sweep.
    """
    process = subprocess.Popen(hardware.worker_command(run_dir), env=hardware.worker_environment())
    interrupts = []

    def pass_on(number: int, _: Any) -> None:
        interrupts.append(number)
        if number == signal.SIGTERM or len(interrupts) > 2:  # Ctrl-C reaches the worker by itself
            process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    code = 128 - code if code < 0 else code
    if interrupts and code in STOPPED:
        sys.exit(code)
    return code
