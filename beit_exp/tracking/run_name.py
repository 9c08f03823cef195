"""What was typed, and the name that it gives a run."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from beit_exp.config.traits import SILENT

OVERRIDES = "BEIT_EXP_OVERRIDES"  # what was typed, if the command started this process
OVERRIDES_TAG = "beit_exp.overrides"
NAME_LENGTH = 80
CHOICES = ("experiment", "task", "checkpoint_kind")  # before what else was typed
NO_CHOICES = ("seed", "objective", "images")  # of the names without a group
DATE = re.compile(r"\d{4}-\d\d-\d\d_")


def run_name(overrides: list[str], run_dir: Path) -> str:
    """What was typed differently from the defaults, in few words, and the run directory's name.

    Choices come first and paths last, of which the last part alone is said.
    """
    pairs = [
        (key.lstrip("+~"), value)
        for key, _, value in (override.partition("=") for override in overrides)
        if not key.lstrip("+~").startswith(("hydra", *SILENT))
    ]
    pairs.sort(key=lambda pair: _place(*pair))
    words = " ".join(_word(key, value) for key, value in pairs)
    if len(words) > NAME_LENGTH:
        words = f"{words[:NAME_LENGTH]}..."
    return f"{words} {_without_date(run_dir.name)}".strip()


def job_run_name(swept: dict[str, str]) -> str:
    """What tells a job of a sweep from the others: `layer_decay=0.65`, or `0.65, 3e-05 (...)`.

    Lists of runs show some twenty characters, so of several settings the values come first.
    """
    keys = [key.rpartition(".")[2] for key in swept]
    values = ["/".join(value.strip("'\"").split("/")[-2:]) for value in swept.values()]
    if len(keys) == 1:
        return f"{keys[0]}={values[0]}"
    return f"{', '.join(values)} ({', '.join(keys)})" if keys else "job"


def _place(key: str, value: str) -> int:
    if key in CHOICES:
        return CHOICES.index(key)
    is_path = "/" in value and key != "checkpoint"
    return len(CHOICES) + is_path


def _word(key: str, value: str) -> str:
    value = value.strip("'\"").rstrip("/")
    if "/" in value:
        value = _without_date(value.rpartition("/")[2])
    is_choice = "." not in key and key not in NO_CHOICES
    return value if is_choice else f"{key.rpartition('.')[2]}={value}"


def _without_date(name: str) -> str:
    """A run directory's name, which begins with the day by default: the time tells more."""
    return DATE.sub("", name, count=1) if DATE.match(name) else name


def typed_tag() -> dict[str, str]:
    """The overrides that the command was given, as a tag; none if it did not start this process."""
    return {OVERRIDES_TAG: os.environ[OVERRIDES]} if OVERRIDES in os.environ else {}


def typed_overrides(tags: dict[str, str]) -> list[str]:
    """The overrides that a tag tells."""
    return shlex.split(tags.get(OVERRIDES_TAG, ""))
