"""What was typed: refused where no setting has such a name, and laid over the settings of a run."""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from beit_exp.config import complaints
from beit_exp.config.mapping import WrongSettingsError, build_config, load_config
from beit_exp.config.schema import known_names, setting_names
from beit_exp.errors import UserError

HERE = Path(__file__).resolve().parent.parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"  # in a wheel, in a clone
PLUGINS = {  # choice -> the package that brings it, and the extra that installs that
    "sweep=optuna": ("hydra_optuna_sweeper", "optuna"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "optuna"),
    "hydra/launcher=joblib": ("hydra_joblib_launcher", "joblib"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "submitit"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "submitit"),
}


def check_overrides(arguments: list[str]) -> None:
    """Stop at words whose key is no setting or whose choice is no file.

    With them whatever else is wrong is told: Hydra would stop at the first and leave the values
    unread.
    """
    words = [word for word in arguments if not word.startswith("-") and "=" in word]
    if any(
        word in arguments
        for word in ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")
    ):
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
            stop(
                f"{choice} needs another package: "
                f"pip install -c .ci/constraints.txt -e '.[{extra}]'"
            )
    known = set(setting_names())
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
    problems, sound = [], []
    for word, override in zip(words, overrides, strict=True):
        key, value = override.key_or_group, override.value()
        if key in groups and isinstance(value, str):
            options = sorted(path.stem for path in (CONF / key).glob("*.yaml"))
            if value not in options:
                problems.append(complaints.wrong_option(key, value, options))
                continue
        elif (
            not key.startswith(("hydra.", "hydra/", "tracking.tags.", "tokenizer.training."))
            and key not in known
        ):
            problems.append(complaints.unknown_key(key, known_names()))
            continue
        sound.append(word)
    if not problems:
        return
    with (
        hydra.initialize_config_dir(str(CONF), version_base="1.3"),
        contextlib.suppress(HydraException),
    ):
        raw = OmegaConf.to_container(hydra.compose("config", sound), resolve=True)
        try:
            build_config(raw)  # type: ignore[arg-type]
        except WrongSettingsError as error:
            problems += error.problems
    stop(str(WrongSettingsError(problems)))


def stop(message: str) -> NoReturn:
    """End the process with status 2 and a message for what the user can mend."""
    print(message, file=sys.stderr)
    sys.exit(2)


def adopt_run(
    raw: DictConfig, overrides: list[str], *, run_dir: Path | None = None
) -> dict[str, Any]:
    """The composed settings or, where `checkpoint` or `run_dir` holds a run, that run's.

    Over the latter comes what was typed. So `task=evaluate checkpoint=RUN` needs no repetition of
    the model and the data that the run was trained with, nor `hydra.run.dir=RUN train.epochs=80`
    of anything else. An experiment says it all, so nothing is laid under it. `UserError` if
    settings cannot be read.
    """
    try:
        values: Any = OmegaConf.to_container(raw, resolve=True)
    except Exception as error:
        raise UserError(str(error).splitlines()[0]) from error
    named = [
        override.key_or_group for override in OverridesParser.create().parse_overrides(overrides)
    ]
    trained = Path(str(raw.checkpoint)) / "config.yaml"
    own = None if run_dir is None else run_dir / "config.yaml"
    if "experiment" in named:
        return values
    if raw.checkpoint is not None and trained.is_file():
        adopted = load_config(trained).model_dump()
        adopted["tracking"]["run_name"] = None
    elif own is not None and own.is_file():
        adopted = load_config(own).model_dump()
        adopted["allow_changes"] = []
        over = f", and over them {' '.join(overrides)}" if overrides else ""
        print(f"settings of {own}{over}", flush=True)
    else:
        return values
    for key in named:
        lay_over(adopted, values, key)
    return adopted


def lay_over(settings: dict[str, Any], values: dict[str, Any], key: str) -> None:
    """Put the value at `key` of `values`, or its absence, into `settings`."""
    *sections, leaf = key.split(".")
    for section in sections:
        values, settings = values.get(section) or {}, settings.setdefault(section, {})
    if leaf in values:
        settings[leaf] = values[leaf]
    else:
        settings.pop(leaf, None)
