"""What was typed, laid over the settings of a run that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from beit_exp.config.mapping import load_config
from beit_exp.launch.found_settings import find_settings
from beit_exp.tracking.mlflow_write import PARENT_TAG


def lay_over_run(
    values: dict[str, Any], overrides: list[str], *, run_dir: Path | None = None
) -> dict[str, Any]:
    """The settings or, where `checkpoint` or `run_dir` holds a run, that run's.

    Over the latter comes what was typed. So `task=evaluate checkpoint=RUN` needs no repetition of
    the model and the data that the run was trained with, nor `hydra.run.dir=RUN train.epochs=80`
    of anything else. An experiment says it all, so nothing is laid under it. What is `auto` is
    found then. `UserError` if settings cannot be read.
    """
    return find_settings(laid_over(values, overrides, run_dir=run_dir))


def laid_over(
    values: dict[str, Any], overrides: list[str], *, run_dir: Path | None
) -> dict[str, Any]:
    """The same as typed; the very `values` where no run is named.

    For task=soup, `checkpoint` may also be the directory of a sweep: its best job is meant then.
    """
    parsed = OverridesParser.create().parse_overrides(overrides)
    named = [override.key_or_group for override in parsed]
    if "experiment" in named:
        return values
    trained = _trained(values) / "config.yaml"
    own = None if run_dir is None else run_dir / "config.yaml"
    if values.get("checkpoint") is not None and trained.is_file():
        adopted = load_config(trained).model_dump()
        adopted["hardware"]["node_num"] = None  # as many as this is started on
        adopted["tracking"]["run_name"] = None
        adopted["tracking"]["tags"].pop(PARENT_TAG, None)  # of the sweep that the run was a job of
    elif own is not None and own.is_file():
        adopted = load_config(own).model_dump()
        adopted["allow_changes"] = []
    else:
        return values
    for key in named:
        _take_over(adopted, values, key.split("."))
    return adopted


def _trained(values: dict[str, Any]) -> Path:
    """The directory of the run whose settings `checkpoint` brings with it."""
    place = Path(str(values.get("checkpoint")))
    is_run = (place / "config.yaml").is_file()
    if values.get("task") != "soup" or is_run or not place.is_dir():
        return place
    from beit_exp.weights.ingredients import best_job  # NumPy and more: not for --help

    return best_job(place) or place


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
