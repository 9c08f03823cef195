"""Whether a documented `python launch.py ...` is a valid run: checked as the command itself would,
and not started.
"""

from __future__ import annotations

import contextlib
import io
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from documents import Block
from settings import OFFICIAL

from beit_exp.errors import UserError
from beit_exp.launch.arguments import hydra_arguments, parse_arguments
from beit_exp.launch.composition import Lookup, build_lookup
from beit_exp.launch.overrides import PLUGINS, find_problems

# What capital letters stand for; whoever has a data set or a run gives others
PLACEHOLDERS = {
    "PATH": "somewhere",
    "RUN": "somewhere",
    "RUN_OR_FILE": "somewhere",
    "SWEEP_OR_RUN": "somewhere",
    "SWEEP": "somewhere",
    "PLACE": "somewhere",
    "FOLDER": "somewhere",
    "FILE": "somewhere",
    "FILE.csv": "somewhere.csv",
    "IN": "somewhere",
    "OUT": "somewhere",
    "WEIGHTS": str(OFFICIAL),
    "NAME": "name",
    "URI": "sqlite:///store.db",
    "HOST": "host",
    "IMAGE": "image",
    "N": "10",
    "OTHER": "elsewhere",
}
CHOICES = {"experiment": "imagenet_base", "task": "finetune", "sweep": "layer_decay"}
RUNS = re.compile(r"runs/[\w./-]+")  # runs of earlier commands
TAKE_RUNS = ("checkpoint", "model.pretrained", "tokenizer.weights", "tokenizer.teacher")
ONLY_SHOWN = ("--version", "--help", "--hydra-help", "-sc")
PLACEHOLDER = rf"(?<![\w$])(?:{'|'.join(sorted(PLACEHOLDERS, reverse=True))})(?!\w)"
REFUSED = re.compile(
    r"^\$ (.*(?:\\\n.*)*)\n(\d+ settings? (?:is|are) wrong:\n(?:  .*(?:\n|$))+)", re.MULTILINE
)


def filled(word: str, places: Mapping[str, str]) -> str:
    """A word with something of this machine for each placeholder in its value."""
    key, equals, value = word.rpartition("=")
    if key in CHOICES and re.fullmatch(PLACEHOLDER, value):
        return f"{key}={CHOICES[key]}"
    if key in TAKE_RUNS and "RUN" in places:
        value = RUNS.sub(places["RUN"], value)
    if "${" not in value:
        value = re.sub(r"\$\w+|\$\?", "1", value)
    if value not in places:
        value = re.sub(PLACEHOLDER, lambda found: places.get(found[0], found[0]), value)
    return key + equals + places.get(value, value)


def unknown_placeholders(words: Sequence[str], places: Mapping[str, str]) -> Iterator[str]:
    """Values in capital letters that nothing says the meaning of."""
    for word in words:
        _, equals, value = word.rpartition("=")
        if equals and re.fullmatch(r"[A-Z][A-Z_]+", value) and value not in places:
            yield f"{value}: no known placeholder; there are {', '.join(sorted(PLACEHOLDERS))}"


def parsed(words: Sequence[str], places: Mapping[str, str]) -> Namespace:
    """Words of a command as it parses them, with places of this machine; `...` is left out."""
    typed = parse_arguments(
        hydra_arguments([filled(word, places) for word in words if word != "..."])
    )
    if typed.config_dir:  # a folder of the reader's, whose files are not here
        typed.config_dir = None
        typed.overrides = [word for word in typed.overrides if "experiment=" not in word]
    return typed


@cache
def _lookup() -> Lookup:
    return build_lookup(parse_arguments([]))


def wrong_launch(words: Sequence[str], places: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the arguments of launch.py, if anything."""
    places = {**PLACEHOLDERS, **places}
    if any(word in ONLY_SHOWN for word in words):
        return
    yield from unknown_placeholders(words, places)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            typed = parsed(words, places)
        if not needs_missing_extra(typed):
            found = find_problems(_lookup(), typed)
            yield from (*found.settings, *found.others)
    except SystemExit:  # at an unknown flag
        yield said.getvalue().strip().rpartition("\n")[2]
    except UserError as error:
        yield str(error)


def needs_missing_extra(typed: Namespace) -> bool:
    """Whether a command takes a plugin that is not installed here."""
    return any(
        find_spec(f"hydra_plugins.{PLUGINS[choice][0]}") is None
        for choice in PLUGINS.keys() & set(typed.overrides)
    )


def refusals(block: Block) -> list[tuple[str, str]]:
    """The commands of a screen that are refused there, and in which words."""
    return [] if block.language != "text" else REFUSED.findall(block.text)


def refusal_of(words: Sequence[str]) -> str:
    """The words in which these arguments of launch.py are refused; none where they are not."""
    return find_problems(_lookup(), parsed(words, PLACEHOLDERS)).message()


def label_table(images: Path, table: Path) -> Path:
    """A table of the images of a data set, as `dataset.labels` takes it."""
    found = sorted(images.glob("*/*"))
    rows = [f"{path.relative_to(images)},{path.parent.name}" for path in found]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    return table
