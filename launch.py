"""The command: compose the configuration, check it, write it to a run directory, and run a worker on it.

python launch.py                                        the quickstart
python launch.py optimizer.base_lr=3e-5                 one setting changed
python launch.py experiment=imagenet_base               a published recipe
python launch.py -m optimizer.layer_decay=0.65,0.75     a sweep
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from beit_exp import complaints, config, hardware
from beit_exp.config import Config, UserError
from beit_exp.data.sources import check_folders
from beit_exp.storage import is_remote
from beit_exp.store import resolve_uri
from beit_exp.sweep import read_parent

CONF = Path(__file__).resolve().parent / "conf"
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
    OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(2), use_cache=True, replace=True)
    check_overrides(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    compose_and_run()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def compose_and_run(raw: DictConfig) -> float:
    """One job: returns the objective that a sweeper compares."""
    composed = HydraConfig.get()
    is_sweep = composed.mode == RunMode.MULTIRUN
    run_dir = Path(composed.runtime.output_dir)
    try:
        values = adopt_run(raw, list(composed.overrides.task))
        values["tracking"]["uri"] = resolve_uri(values["tracking"]["uri"])
        if is_sweep:
            place_under_parent(values, Path(composed.sweep.dir), list(composed.overrides.task))
        cfg = config.from_mapping(values)
        check_files(cfg)
        prepare(cfg, run_dir)
    except UserError as error:
        with contextlib.suppress(OSError):
            run_dir.rmdir()  # only if nothing is in it
        print(error, file=sys.stderr)
        fail(str(error), 2, is_sweep=is_sweep)
    code = run_worker(cfg, run_dir)
    if code != 0:
        fail(f"the run in {run_dir} ended with exit status {code}", code, is_sweep=is_sweep)
    return float(json.loads((run_dir / "metrics.json").read_text()).get(cfg.objective, 0.0))


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
        elif not key.startswith(("hydra.", "hydra/", "tracking.tags.")) and key not in known:
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


def place_under_parent(values: dict[str, Any], sweep_dir: Path, overrides: list[str]) -> None:
    """Name a sweep's job by what differs from the other jobs, and hang its MLflow run under the sweep's."""
    parent = read_parent(sweep_dir)
    differing = [override for override in overrides if override.split("=")[0].lstrip("+") in parent["swept"]]
    values["tracking"]["run_name"] = values["tracking"]["run_name"] or " ".join(differing) or None
    if parent["run_id"] is not None:
        values["tracking"]["tags"] |= {"mlflow.parentRunId": parent["run_id"]}


def check_files(cfg: Config) -> None:
    """Refuse missing files before anything heavy starts."""
    for key, place in (("checkpoint", cfg.checkpoint), ("model.pretrained", cfg.model.pretrained)):
        if place is not None and not is_remote(place) and not Path(place).exists():
            raise UserError(f"{key} = {place!r}: there is no such file or run directory")
    if cfg.images is not None and not Path(cfg.images).exists():
        raise UserError(f"images = {cfg.images!r}: there is no such folder or file")
    if cfg.task in ("finetune", "evaluate", "check_data"):
        check_folders(cfg.dataset)


def prepare(cfg: Config, run_dir: Path) -> None:
    """Write the configuration, or find in the directory the same run to go on with."""
    path = run_dir / "config.yaml"
    if not path.exists():
        config.save(cfg, path)
        return
    changed = {
        key: values
        for key, values in config.differences(config.load(path), cfg).items()
        if not key.startswith((*FREE_ON_RESUME, *cfg.allow_changes))
    }
    if not changed:
        config.save(cfg, path)
    else:
        listed = [f"{key}: {old!r} there, {new!r} here" for key, (old, new) in sorted(changed.items())]
        raise UserError(
            "\n  ".join([f"{run_dir} holds another run; it can be resumed with its own settings alone:", *listed])
            + f"\nTo resume it as it is: python -m beit_exp.worker {run_dir}"
            + f"\nTo change them all the same: allow_changes=[{','.join(sorted(changed))}]"
        )


def run_worker(cfg: Config, run_dir: Path) -> int:
    """Run the worker to its end and pass on signals: the worker saves, this process only waits."""
    process = subprocess.Popen(hardware.worker_command(run_dir), env=hardware.worker_environment(cfg.hardware))
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
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    main()
