"""The jobs of a sweep, checked before the first of them: composed once for each choice of files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from beit_exp.config.mapping import WrongSettingsError, build_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.launch.arguments import parse_override
from beit_exp.launch.composition import Lookup, compose, options, plain_values
from beit_exp.launch.saved_settings import lay_over_run
from beit_exp.launch.tokenizer_first import merge, tokenizer_run, trains_tokenizer_first

MOST_JOBS = 256  # a millisecond each
MOST_COMPOSITIONS = 16  # 50 milliseconds each
Job = tuple[str, ...]  # an override for each setting that differs


def swept_words(override: Override) -> list[str]:
    """One override for each value of a sweep; of an interval its two ends."""
    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def swept_by_file(composed: DictConfig, typed: set[str]) -> list[list[str]]:
    """The values that the sweeper's own settings give to keys that were not typed."""
    found = []
    for key, text in (composed.hydra.sweeper.get("params") or {}).items():
        override = parse_override(f"{key}={text}") if isinstance(text, str | int | float) else None
        if key not in typed and override is not None:
            is_sweep = override.is_sweep_override()
            found.append(swept_words(override) if is_sweep else [f"{key}={text}"])
    return found


@dataclass
class Findings:
    """What is wrong, each once: settings, and what else the user can mend."""

    settings: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    config: Config | None = None  # of a run that is no job of a sweep, where nothing is wrong

    def add(self, error: UserError) -> None:
        if isinstance(error, WrongSettingsError):
            self.settings += [each for each in error.problems if each not in self.settings]
        elif str(error) not in self.others:
            self.others.append(str(error))

    def message(self) -> str:
        """All wrong settings or, if there are none, the rest."""
        if self.settings:
            return str(WrongSettingsError(self.settings))
        return "\n".join(self.others)


def check_jobs(
    lookup: Lookup, words: list[str], swept: list[list[str]], *, refers: bool, found: Findings
) -> None:
    """Find what is wrong with any job; `refers` says that settings refer to others.

    Tried are all combinations of a small sweep; of a large one each value by itself, beside the
    first ones of the others.
    """
    by_file = [refers or _chooses_files(lookup, each) for each in swept]
    compositions = math.prod(
        len(each) for each, composes in zip(swept, by_file, strict=True) if composes
    )
    is_small = math.prod(map(len, swept)) <= MOST_JOBS and compositions <= MOST_COMPOSITIONS
    composed: dict[Job, dict[str, Any]] = {}
    for job in itertools.product(*swept) if is_small else _one_by_one(swept):
        files = tuple(word for word, composes in zip(job, by_file, strict=True) if composes)
        try:
            if files not in composed:
                composed[files] = plain_values(compose(lookup, [*words, *files]))
            values = composed[files]
            for word, composes in zip(job, by_file, strict=True):
                values = values if composes else _with(values, word)
            check_job(values, [*words, *job])
        except UserError as error:
            found.add(error)


def check_job(values: dict[str, Any], words: list[str]) -> None:
    """Raise `UserError` if the run with these settings cannot begin."""
    from beit_exp.launch.run_directory import check_files  # brings NumPy: a tenth of a second

    cfg = build_config(lay_over_run(values, words))
    check_files(cfg)
    if trains_tokenizer_first(cfg):
        tokenizer_run(cfg, Path("run"))


def _chooses_files(lookup: Lookup, words: list[str]) -> bool:
    """Whether the values choose files, or refer to other settings, so that Hydra must compose."""
    group = words[0].partition("=")[0].lstrip("+")
    return any("${" in word for word in words) or bool(options(lookup, group))


def _one_by_one(swept: list[list[str]]) -> Iterator[Job]:
    first = [words[0] for words in swept]
    for place, words in enumerate(swept):
        for word in words:
            yield (*first[:place], word, *first[place + 1 :])


def _with(values: dict[str, Any], word: str) -> dict[str, Any]:
    """The settings with one more override over them."""
    override = parse_override(word)
    assert override is not None, word
    change: Any = override.value()
    for part in reversed(override.key_or_group.split(".")):
        change = {part: change}
    return merge(values, change)
