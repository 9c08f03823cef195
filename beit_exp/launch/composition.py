"""Hydra's own lookup: which groups and options there are, and what the settings are with some."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from beit_exp.errors import UserError

HERE = Path(__file__).resolve().parent.parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"  # in a wheel, in a clone
CONFIG_NAME = "config"
REFUSALS = (HydraException, OmegaConfBaseException, OSError, ValueError, yaml.YAMLError)
COMMAND = "beit_exp.command"  # the module whose folder Hydra takes --config-path from


@dataclass(frozen=True)
class Lookup:
    """Where a command's settings are found."""

    loader: ConfigLoaderImpl
    places: IConfigRepository  # with those of hydra.searchpath
    config_name: str


def build_lookup(typed: Namespace) -> Lookup:
    """The places that Hydra would look in; `UserError` if `--config-dir` is none."""
    setup_globals()
    path = create_automatic_config_search_path(None, COMMAND, typed.config_path or str(CONF))
    if typed.config_dir is not None:
        if not os.path.isdir(typed.config_dir):
            raise UserError(f"--config-dir={typed.config_dir}: there is no such folder")
        path.prepend(
            provider="command-line",
            path=f"file://{os.path.abspath(typed.config_dir)}",
            anchor=SearchPathQuery(provider="schema"),
        )
    loader, name = ConfigLoaderImpl(path), typed.config_name or CONFIG_NAME
    searchpath = [word for word in typed.overrides if word.startswith("hydra.searchpath=")]
    is_own = typed.config_path is None and typed.config_name is None
    if is_own and not searchpath:  # CONF names no further places: it need not be read to find them
        return Lookup(loader, loader.repository, name)
    try:
        _, places = loader._parse_overrides_and_create_caching_repo(name, searchpath)
    except REFUSALS as error:
        raise UserError(in_words(error)) from error
    return Lookup(loader, places, name)


def options(lookup: Lookup, group: str) -> list[str]:
    """The choices for a group, sorted; empty if there is no such group."""
    return sorted(set(lookup.places.get_group_options(group, ObjectType.CONFIG)))


def groups(lookup: Lookup) -> list[str]:
    """The groups of settings but Hydra's own, sorted."""
    return sorted({*lookup.places.get_group_options("", ObjectType.GROUP)} - {"hydra"})


def compose(lookup: Lookup, words: list[str]) -> DictConfig:
    """The settings with these overrides, and Hydra's; `UserError` says what Hydra refuses."""
    try:
        composed = lookup.loader.load_configuration(
            lookup.config_name, words, RunMode.RUN, validate_sweep_overrides=False
        )
    except REFUSALS as error:
        raise UserError(in_words(error)) from error
    HydraConfig.instance().set_config(composed)  # what `${hydra:...}` reads
    return composed


def plain_values(composed: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Composed settings without Hydra's, as plain values; `UserError` names a reference to none."""
    try:
        values: Any = OmegaConf.to_container(
            OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]),
            resolve=resolve,
        )
    except Exception as error:  # whatever a resolver raises
        raise UserError(str(error).splitlines()[0]) from error
    return dict(values)


def in_words(error: Exception) -> str:
    """What Hydra says, on one line, with the cause that it leaves to a traceback.

    Of a file that is no YAML: which, and where.
    """
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem}"
    told = [str(each).strip() for each in (error, error.__cause__) if each is not None]
    return ": ".join(text.splitlines()[0].rstrip(".") for text in told if text)
