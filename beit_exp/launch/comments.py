"""What the comments in `conf/` say of groups, settings and options: the only place that does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

ENTRY = re.compile(r"^( *)(?:- )?(\w+):(?: +([^#\s].*?))?(?: +# (.*))?$")
MORE = re.compile(r"^ {3,}# (.*)$")  # of the comment in the line before
COMMAND = "python launch.py"  # begins a comment to paste


@dataclass(frozen=True)
class Entry:
    """A line of `config.yaml`: the value that stands there, and the lines of comment about it."""

    value: str
    comments: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """The comment but for commands, in one line."""
        return " ".join(line for line in self.comments if not line.startswith(COMMAND))

    @property
    def command(self) -> str | None:
        """The command to paste."""
        return next((line for line in self.comments if line.startswith(COMMAND)), None)


def read_entries(text: str) -> dict[str, Entry]:
    """Full key -> what `config.yaml` has there, and what it says of it.

    Of a section the comment stands above it, of all else behind it and on aligned lines below.
    """
    values: dict[str, str] = {}
    told: dict[str, list[str]] = {}
    section, last, above = "", "", list[str]()
    for line in text.splitlines():
        if line.startswith("# "):
            above.append(line[2:])
        elif (more := MORE.match(line)) and last:
            told[last].append(more[1])
        elif entry := ENTRY.match(line):
            indent, name, value, comment = entry.groups()
            if not indent:
                section = name
            last = f"{section}.{name}" if indent else name
            values[last] = value or ""
            told[last] = [*(above if not indent else ()), *([comment] if comment else [])]
            above = []
        else:
            above = []
    return {key: Entry(values[key], tuple(told[key])) for key in told}


def option_line(text: str) -> str:
    """An option's first comment that is no command, or the values in its file."""
    comments = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    told = [line for line in comments if not line.startswith(("@package", COMMAND))]
    if told:
        return told[0].removeprefix("expected: ").partition(" - measured")[0].rstrip(".")
    try:
        return ", ".join(f"{key} {value}" for key, value in option_values(text))
    except (yaml.YAMLError, ValueError):
        return "cannot be read"


def option_command(text: str) -> str | None:
    """The command that an option's comments hold, to paste."""
    found = re.search(rf"^# ({re.escape(COMMAND)} .*)$", text, re.MULTILINE)
    return found[1] if found else None


def option_values(text: str) -> list[tuple[str, str]]:
    """(key, value) of what an option's file sets; (`as`, option) of what it begins with.

    `YAMLError` or `ValueError` for a file that holds no settings.
    """
    values = yaml.safe_load(text) or {}
    if not isinstance(values, dict):
        raise ValueError("it must hold settings, as `key: value`")
    return list(_values(values))


def _values(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if key == "defaults":
            chosen = (each for each in value or [] if isinstance(each, str))
            yield from (("as", each) for each in chosen if each != "_self_")
        elif isinstance(value, dict):
            yield from _values(value, f"{prefix}{key}.".removeprefix("hydra.sweeper.params."))
        elif len(values) == 1 or key not in ("arch", "name", "mode"):
            yield f"{prefix}{key}", _as_typed(value)


def _as_typed(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
