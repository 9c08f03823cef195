"""From plain values to the checked settings of a run, and to a file and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from beit_exp.config import complaints
from beit_exp.config.rules import RULES
from beit_exp.config.schema import Config, known_names, setting_names
from beit_exp.errors import UserError
from beit_exp.storage.files import write_atomically
from beit_exp.storage.foreign import reading
from beit_exp.storage.passwords import hide_password, holds_password

UNREADABLE = "cannot be read as a configuration"
MAX_BRACKETS = 100
MAX_BYTES = 1 << 20  # of settings: a run's take 3 kB, a weight for each of 22,000 classes 200


class _Loader(yaml.SafeLoader):
    """Refuses aliases, by which a few lines can stand for more values than memory holds, and
    brackets in brackets without end, for which it would take the square of their number.
    """

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        if self.flow_level >= MAX_BRACKETS:
            mark = self.get_mark()
            raise yaml.scanner.ScannerError(None, None, "too many brackets in brackets", mark)
        super().fetch_flow_collection_start(token_class)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "settings have no aliases", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes equal values twice, without an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class WrongSettingsError(UserError):
    """Every wrong setting of a configuration, a line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = sorted(map(hide_password, problems))
        count = len(problems)
        heading = "1 setting is wrong:" if count == 1 else f"{count} settings are wrong:"
        super().__init__("\n  ".join([heading, *self.problems]))


def build_config(raw: dict[str, Any]) -> Config:
    """The checked configuration.

    `WrongSettingsError` lists every wrong setting with its value and what is allowed.
    """
    raw = _without_missing(raw)
    problems: dict[str, str] = {}  # key -> complaint
    config = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        schema, known = Config.model_json_schema(), known_names()
        for detail in error.errors():
            key = _key(detail["loc"])
            is_inside = len(detail["loc"]) > key.count(".") + 1
            value = look_up(raw, key) if is_inside else detail["input"]
            problems.setdefault(key, complaints.describe(key, value, detail, schema, known))
    for key, text in _texts(raw):
        if holds_password(text):
            problems[key] = complaints.kept_password(key, text)
    for rule in RULES:
        if any(_within(bad, key) for bad in problems for key in rule.keys):
            continue
        values = [look_up(raw, key) for key in rule.keys]
        if not rule.holds(*values):
            problems[rule.keys[0]] = complaints.broken_rule(rule.keys, values, rule.allowed)
    if problems or config is None:
        raise WrongSettingsError(list(problems.values()))
    return config


def _key(place: tuple[int | str, ...]) -> str:
    """Of a place as pydantic tells it: of a setting with several types, also by which of them."""
    key, settings = "", set(setting_names())
    for part in map(str, place):
        if key in settings and "[" in part:
            break
        key = f"{key}.{part}" if key else part
    return key


def save_config(config: Config, path: Path) -> None:
    """Write every setting, resolved, as YAML; a reader sees the old file or the new one."""
    write_atomically(path, yaml.dump(config.model_dump(), Dumper=_Dumper, sort_keys=False).encode())


def load_config(path: Path) -> Config:
    """Read what `save_config` wrote; `UserError` if it cannot be read or is wrong.

    That it was written by a version of the project with other settings is said as such.
    """
    raw = read_mapping(path)
    known = set(setting_names())
    found = set(_names(raw, known))
    if known != found:
        raise UserError(_of_another_version(path, sorted(known - found), sorted(found - known)))
    return build_config(raw)


def _of_another_version(path: Path, missing: list[str], unknown: list[str]) -> str:
    facts = path.parent / "facts.json"
    tags: dict[str, Any] = {}
    if facts.exists():
        with reading(facts):
            tags = json.loads(facts.read_bytes()).get("tags", {})
    commit = tags.get("mlflow.source.git.commit") or tags.get("git.commit")
    version = f" (commit {commit})" if commit else ""
    lines = [f"{path} was written by another version of this project{version}."]
    lines += [f"  It lacks {', '.join(missing)}"] if missing else []
    lines += [f"  It has what there is no longer: {', '.join(unknown)}"] if unknown else []
    checkout = f": git checkout {commit}" if commit else ""
    lines.append(
        f"To go on with this run, use that version{checkout}. Or let the file say what this one "
        "needs: add what it lacks, with values that mean what the run did (conf/config.yaml tells "
        "of each), and remove what there is no longer"
    )
    return "\n".join(lines)


def _names(values: dict[str, Any], known: set[str], prefix: str = "") -> Iterator[str]:
    """Full keys of nested values; one that is known is a setting, whatever its value holds."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in known or not isinstance(value, dict):
            yield key
        else:
            yield from _names(value, known, f"{key}.")


def read_mapping(path: Path) -> dict[str, Any]:
    """The YAML mapping in a file; `UserError` if there is none."""
    with reading(path, UNREADABLE):
        if (length := path.stat().st_size) > MAX_BYTES:
            raise UserError(f"{path} is refused: {length:,} bytes are more than settings take")
        try:
            raw = yaml.load(path.read_text("utf-8"), _Loader)
        except yaml.YAMLError as error:  # several lines, which show the place
            why = hide_password(str(error))  # it may quote a line
            raise UserError(f"{path} {UNREADABLE}: {why}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} holds no settings")
    return raw


def flatten(config: Config) -> dict[str, Any]:
    """Full key -> value, for parameters of a tracked run."""
    values = config.model_dump()
    return {key: look_up(values, key) for key in setting_names()}


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Full key -> (old value, new value) where the two differ."""
    before, after = flatten(old), flatten(new)
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def _without_missing(raw: dict[str, Any]) -> dict[str, Any]:
    """Drop what is still to be given: OmegaConf marks it by three question marks."""
    return {
        key: _without_missing(value) if isinstance(value, dict) else value
        for key, value in raw.items()
        if value != "???"
    }


def look_up(values: dict[str, Any], key: str) -> Any:
    """The value at a full key of nested settings."""
    for part in key.split("."):
        values = values[part]
    return values


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested values, with its full key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in parts:
            yield from _texts(inner, f"{key}.{name}".lstrip("."))


def _within(bad: str, key: str) -> bool:
    """Whether a problem at `bad` leaves no valid value at `key`.

    It does at the same setting, at its group, and at an item of it.
    """
    return bad == key or key.startswith(bad + ".") or bad.startswith(key + ".")
