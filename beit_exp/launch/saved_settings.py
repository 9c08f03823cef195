"""What was typed, laid over the settings of a run that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from beit_exp.config.mapping import read_mapping


def lay_over_run(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The settings or, where `checkpoint` is a run directory, that run's.

    Over the latter comes what was typed. So `task=evaluate checkpoint=RUN` needs no repetition of
    the model and the data that the run was trained with. `UserError` if it cannot be read.
    """
    checkpoint = values.get("checkpoint")
    saved = Path(str(checkpoint)) / "config.yaml"
    parsed = OverridesParser.create().parse_overrides(overrides)
    named = [override.key_or_group for override in parsed]
    if checkpoint is None or not saved.is_file() or "experiment" in named:
        return values
    adopted = read_mapping(saved)
    adopted["tracking"]["run_name"] = None
    for key in named:
        _take_over(adopted, values, key.split("."))
    return adopted


def _take_over(adopted: dict[str, Any], values: dict[str, Any], parts: list[str]) -> None:
    """Make a setting what it is in `values`; if it was deleted there, delete it."""
    *sections, leaf = parts
    for section in sections:
        if section not in values:
            return
        values, adopted = values[section], adopted.setdefault(section, {})
    if leaf in values:
        adopted[leaf] = values[leaf]
    else:
        adopted.pop(leaf, None)
