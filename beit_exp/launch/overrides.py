"""What was typed: refused before any work where it cannot be, and all of it at once."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig

from beit_exp.config import complaints
from beit_exp.config.command_line import override as quoted
from beit_exp.config.mapping import build_config
from beit_exp.config.schema import Config, known_names
from beit_exp.errors import MissingExtraError, UserError
from beit_exp.hardware.nodes import find_place
from beit_exp.launch.arguments import MAPPINGS, hydra_arguments, parse_arguments
from beit_exp.launch.combinations import Findings, check_jobs, swept_by_file, swept_words
from beit_exp.launch.composition import (
    Lookup,
    build_lookup,
    compose,
    groups,
    options,
    plain_values,
)
from beit_exp.launch.found_settings import find_settings
from beit_exp.launch.saved_settings import laid_over, lay_over_run
from beit_exp.storage.passwords import holds_password

PLUGINS = {  # choice -> the package that brings it, and the extra that installs that
    "sweep=optuna": ("hydra_optuna_sweeper", "optuna"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "optuna"),
    "hydra/launcher=joblib": ("hydra_joblib_launcher", "joblib"),
    "hydra/launcher=submitit_local": ("hydra_submitit_launcher", "submitit"),
    "hydra/launcher=submitit_slurm": ("hydra_submitit_launcher", "submitit"),
}


def check_overrides(typed: Namespace) -> Config | None:
    """Raise `UserError` at a key that is no setting, a choice that is no file, a wrong value.

    All of them are told at once; Hydra would stop at the first. Returns the settings of what is to
    run, unless that is a sweep or nothing.
    """
    if typed.shell_completion or typed.hydra_help or typed.experimental_rerun is not None:
        return None
    for choice in PLUGINS.keys() & set(typed.overrides):
        package, extra = PLUGINS[choice]
        if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{package}") is None:
            raise MissingExtraError(choice, extra)
    found = find_problems(build_lookup(typed), typed)
    if message := found.message():
        raise UserError(message)
    return found.config


def find_problems(lookup: Lookup, typed: Namespace) -> Findings:
    """Everything that is wrong with a command."""
    found = Findings()
    sound: list[Override] = []
    known = [*known_names(), *(each for each in groups(lookup) if each not in Config.model_fields)]
    for word in typed.overrides:
        found.settings += _wrong_word(lookup, word, known, sound)
    if found.settings and not sound and find_place(os.environ) is None:
        return found  # beside what is typed there are but the quickstart's settings
    words = [str(each.input_line) for each in sound if not each.is_sweep_override()]
    several = [swept_words(each) for each in sound if each.is_sweep_override()]
    try:
        composed = compose(lookup, [*words, *(each[0] for each in several)])
        is_sweep = typed.multirun or composed.hydra.mode == RunMode.MULTIRUN
        if several and not is_sweep:
            found.settings += [_needs_sweep(each) for each in sound if each.is_sweep_override()]
            composed = compose(lookup, words)
        if typed.cfg is not None or typed.info is not None:
            return found
        found.settings += _wrong_on_several_nodes(typed, is_sweep=is_sweep)
        if is_sweep:
            several += swept_by_file(composed, {each.key_or_group for each in sound})
            refers = "${" in str(plain_values(composed, resolve=False))
            check_jobs(lookup, words, several, refers=refers, found=found)
        else:
            run_dir = Path(composed.hydra.run.dir)
            values = lay_over_run(plain_values(composed), words, run_dir=run_dir)
            found.config = build_config(values)
    except UserError as error:
        found.add(error)
    return found


def _wrong_on_several_nodes(typed: Namespace, *, is_sweep: bool) -> Iterator[str]:
    """What cannot be where the same command was started several times."""
    place = find_place(os.environ)
    if place is None:
        return
    if is_sweep:
        yield (
            f"a sweep is started once, but {place.told_by} started {place.count} processes: start "
            "it outside of srun, and let hydra/launcher=submitit_slurm make the jobs"
        )
    elif place.job is None and not any(
        word.startswith("hydra.run.dir=") for word in typed.overrides
    ):
        yield (
            "hydra.run.dir: must be given on several nodes, the same on each: by itself it would "
            "be named by the time"
        )


def _wrong_word(
    lookup: Lookup, word: str, known: list[str], sound: list[Override]
) -> Iterator[str]:
    """What is wrong with a word by itself; nothing, and then `sound` grows by it."""
    try:
        (override,) = OverridesParser.create(lookup.loader).parse_overrides([word])
    except OverrideParseException as error:
        # The reason may quote half a password
        reason = "quote it" if holds_password(word) else str(error).splitlines()[0]
        yield f"{word} is no override: " + (reason if "=" in word else "it must be key=value")
        return
    key, value = override.key_or_group, override.value()
    if override.is_hydra_override() and holds_password(word):
        law = "must hold no password. Name a variable of the environment that holds all of it"
        yield f"{word}: {law}: " + shlex.quote(f"{key}=${{oc.env:NAME}}")
        return
    if override.is_hydra_override() and override.is_sweep_override():
        text = word.partition("=")[2]
        as_text = shlex.quote(quoted(key, text))
        yield f"{word}: a setting of Hydra's has one value; as a text it is {as_text}"
        return
    choices = options(lookup, key)
    if choices and not isinstance(value, dict):
        chosen = [] if override.is_delete() else _chosen(override)
        wrong = [each for each in chosen if each not in choices]
        yield from (complaints.wrong_option(key, each, choices) for each in wrong)
        if override.is_sweep_override() and not wrong and not list(override.sweep_iterator()):
            yield complaints.wrong_value(key, word.partition("=")[2], "matches no option")
            return
    else:
        keys = _leaves(key, value) if isinstance(value, dict) else [key]
        wrong = [each for each in keys if not _is_setting(each, known)]
        yield from (complaints.unknown_key(each, known) for each in wrong)
        if override.is_add() and not wrong and key in known:
            yield f"{word}: the setting is there already, so without the plus: {word[1:]}"
            return
    if not wrong:
        sound.append(override)


def _chosen(override: Override) -> list[str]:
    """The options that a word chooses."""
    value: Any = override.value()
    if override.is_discrete_sweep():
        value = [_plain(text) for text in override.sweep_iterator()]
    listed = value if isinstance(value, list) else [value]
    return ["null" if each is None else str(each) for each in listed]


def _plain(value: Any) -> Any:
    return getattr(value, "text", value)  # of one in quotes


def _leaves(key: str, values: dict[str, Any]) -> Iterator[str]:
    """The full keys of a mapping that was typed; those of the user's own mappings end there."""
    if key in MAPPINGS or not values:
        yield key
        return
    for name, value in values.items():
        inner = f"{key}.{name}"
        if isinstance(value, dict):
            yield from _leaves(inner, value)
        else:
            yield inner


def _is_setting(key: str, known: list[str]) -> bool:
    free = ("hydra.", "hydra/", *(f"{name}." for name in MAPPINGS))
    return key in known or key.startswith(free)


def _needs_sweep(override: Override) -> str:
    """The complaint about several values for one run."""
    key, _, text = str(override.input_line).partition("=")
    if override.value_type == ValueType.SIMPLE_CHOICE_SWEEP:
        return (
            f"{key}={text}: several values are a sweep, which needs -m; as a list it is "
            f"{key}=[{text}], as one text {shlex.quote(quoted(key, text))}"
        )
    return f"{key}={text}: several values are a sweep, which needs -m"


def typed_values(arguments: list[str]) -> dict[str, Any]:
    """The settings that a command would run with, without running it; `UserError` as it."""
    typed = parse_arguments(hydra_arguments(arguments))
    check_overrides(typed)
    composed = compose(build_lookup(typed), typed.overrides)
    return lay_over_run(plain_values(composed), typed.overrides)


def adopt_run(
    raw: DictConfig, overrides: list[str], *, run_dir: Path | None = None
) -> dict[str, Any]:
    """The composed settings, over those of the run that `checkpoint` names, or of one's own."""
    values = plain_values(raw)
    adopted = laid_over(values, overrides, run_dir=run_dir)
    if run_dir is not None and adopted is not values and values.get("checkpoint") is None:
        over = f", and over them {' '.join(overrides)}" if overrides else ""
        print(f"settings of {run_dir / 'config.yaml'}{over}", flush=True)
    return find_settings(adopted)
