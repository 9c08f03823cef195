"""The words of the command as Hydra must be given them.

Flags may stand anywhere; a path is taken as it is, whatever characters it holds; and a mapping of
the user's own, such as tags, takes any key.
"""

from __future__ import annotations

import os
import shlex
import shutil
from argparse import Namespace
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from beit_exp.config.command_line import override
from beit_exp.errors import UserError

PATHS = (
    "checkpoint",
    "images",
    "model.pretrained",
    "dataset.data_url",
    "dataset.val_labels",
    "dataset.labels",
    "evaluation.real_labels",
    "tokenizer.weights",
    "tokenizer.teacher",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
PATHS_BELOW = "evaluation.sets."  # of a name each
# Whose keys are the user's
MAPPINGS = ("tracking.tags", "tokenizer.training", "evaluation.sets")


def program_typed(path: str) -> str:
    """How this program is called again: `beit-exp`, or `python` and the file as it was typed."""
    name = Path(path).name
    if path.endswith(".py"):
        return shlex.join(["python", path])
    found = shutil.which(name)
    is_found = found is not None and Path(found).resolve() == Path(path).resolve()
    return name if is_found else shlex.quote(path)


def parse_arguments(arguments: list[str]) -> Namespace:
    """Hydra's flags, and the other words as `overrides`; the process ends at an unknown flag.

    `UserError` for two flags of which Hydra takes one.
    """
    typed = get_args_parser().parse_intermixed_args(arguments)
    flags = {
        "-m": typed.multirun,
        "--run": typed.run,
        "--cfg": typed.cfg,
        "--info": typed.info,
        "-sc": typed.shell_completion,
    }
    if len(given := [flag for flag, value in flags.items() if value]) > 1:
        raise UserError(f"{' and '.join(given)}: one at a time; --cfg shows the settings of a run")
    return typed


def hydra_arguments(arguments: list[str]) -> list[str]:
    """The arguments, such that Hydra reads what was meant; the flags last.

    `UserError` where a path could also mean several.
    """
    typed = parse_arguments(arguments)
    if typed.shell_completion or typed.experimental_rerun is not None:
        return arguments
    rest, flags = list(typed.overrides), []
    for word in arguments:
        if rest and word == rest[0]:
            rest.pop(0)
        else:
            flags.append(word)
    sweeps = typed.multirun or any(
        (word.startswith("sweep=") and word != "sweep=null") or word == "hydra.mode=MULTIRUN"
        for word in typed.overrides
    )
    return [*(_open_mapping(_plain_path(word, sweeps)) for word in typed.overrides), *flags]


def parse_override(word: str) -> Override | None:
    """What Hydra's grammar makes of a word, or None where it makes nothing."""
    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except HydraException:
        return None


def _open_mapping(word: str) -> str:
    key, equals, _ = word.partition("=")
    is_mapping = key in MAPPINGS or key.startswith(tuple(f"{name}." for name in MAPPINGS))
    return f"++{word}" if equals and is_mapping else word


def _plain_path(word: str, sweeps: bool) -> str:
    key, _, text = word.partition("=")
    name = key.lstrip("+")
    is_path = name in PATHS or name.startswith(PATHS_BELOW)
    if not is_path or not text or "${" in text:
        return word
    parsed = parse_override(word)
    is_several = parsed.is_sweep_override() if parsed is not None else "," in text
    if is_several and sweeps and not name.startswith("hydra."):
        return _several_paths(key, text, is_read=parsed is not None)
    value = None if parsed is None else parsed._value
    was_escaped = isinstance(value, str) and "\\" in text and not Path(text).exists()
    is_read = parsed is not None and (value is None or value == text or was_escaped)
    if is_read or isinstance(value, QuotedString):
        return word
    return override(key, _at_home(text))


def _several_paths(key: str, text: str, *, is_read: bool) -> str:
    """Paths with a comma between them, under -m; `is_read` says that Hydra reads them."""
    parts = text.split(",")
    is_one = Path(_at_home(text)).exists()
    if is_read and not is_one:
        return f"{key}={text}"
    several = f"{key}=" + ",".join(override("", _at_home(part))[1:] for part in parts)
    if not is_one and all(Path(_at_home(part)).exists() for part in parts):
        return several
    raise UserError(
        f"{key}={text}: in a sweep a comma separates values, so quote what is meant:\n"
        f"  one path:      {shlex.quote(override(key, _at_home(text)))}\n"
        f"  several paths: {shlex.quote(several)}"
    )


def _at_home(text: str) -> str:
    """A path with the home folder for a tilde."""
    return os.path.expanduser(text) if text == "~" or text.startswith("~/") else text
