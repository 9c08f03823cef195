"""Every group of settings in words: type and range from the schema, the rest from the comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beit_exp.config.complaints import allowed
from beit_exp.config.schema import Config, setting_names
from beit_exp.launch.comments import (
    Entry,
    option_command,
    option_line,
    option_values,
    read_entries,
)
from beit_exp.launch.composition import CONF, CONFIG_NAME
from beit_exp.launch.found_settings import AUTO, MISSING, names_that_may_be_auto
from beit_exp.storage.foreign import reading

ROOT = "root"  # stands for no group


@dataclass(frozen=True)
class Setting:
    """One setting: full key, what it may be, its value unless said, and what it means."""

    key: str
    allowed: str
    default: str | None  # None: an option says it
    meaning: str


@dataclass(frozen=True)
class Option:
    """One file of a group: what it says of itself, and what it sets."""

    name: str
    told: str
    values: list[tuple[str, str]]
    command: str | None  # an example


@dataclass(frozen=True)
class Group:
    """Settings that belong together, and the options that set them."""

    name: str
    told: str
    command: str | None  # an example
    default: str | None  # the option unless said
    settings: list[Setting]
    options: list[Option]


def describe_groups(conf: Path = CONF) -> list[Group]:
    """The groups in the order of `config.yaml`; settings of none come first, as `ROOT`."""
    entries = read_entries((conf / f"{CONFIG_NAME}.yaml").read_text("utf-8"))
    described: dict[str, list[Setting]] = {ROOT: []}
    schema, found = Config.model_json_schema(), names_that_may_be_auto()
    for key in setting_names():
        entry = entries.get(key, Entry("", ()))
        words = allowed(key, schema) + (f" or {AUTO}" if key in found else "")
        default = None if entry.value == MISSING else entry.value
        group = key.rpartition(".")[0] or ROOT
        described.setdefault(group, []).append(Setting(key, words, default, entry.meaning))
    folders = {path.parent.name for path in conf.glob("*/*.yaml")}
    order = list(entries)
    names = sorted({*described, *folders} - {ROOT}, key=lambda name: (_place(name, order), name))
    return [_group(name, entries, described, conf) for name in [ROOT, *names]]


def _place(name: str, order: list[str]) -> int:
    """Where a group comes; last, if `config.yaml` does not know it."""
    keys = (f"defaults.{name}", name)
    return next((order.index(key) for key in keys if key in order), len(order))


def _group(
    name: str, entries: dict[str, Entry], described: dict[str, list[Setting]], conf: Path
) -> Group:
    chosen = entries.get(f"defaults.{name}")
    entry = entries.get(name) or chosen or Entry("", ())
    order = list(entries)
    options = [_option(path) for path in sorted((conf / name).glob("*.yaml"))]
    return Group(
        name,
        entry.meaning,
        entry.command or next((option.command for option in options if option.command), None),
        chosen.value if chosen and chosen.value != "null" else None,
        sorted(described.get(name, []), key=lambda setting: order.index(setting.key)),
        options,
    )


def _option(path: Path) -> Option:
    with reading(path):
        text = path.read_text("utf-8")
        return Option(path.stem, option_line(text), option_values(text), option_command(text))


def pick(groups: list[Group], name: str) -> list[Group]:
    """The group of that name, or the settings with that full key, or else that beginning.

    Empty if there is none.
    """
    if named := [group for group in groups if group.name == name]:
        return named
    every = [setting.key for group in groups for setting in group.settings]
    keys = {name} if name in every else {key for key in every if key.startswith(name)}
    return list(_with_settings(groups, keys))


def _with_settings(groups: list[Group], keys: set[str]) -> Iterator[Group]:
    for group in groups:
        if settings := [setting for setting in group.settings if setting.key in keys]:
            yield Group(group.name, group.told, group.command, group.default, settings, [])
