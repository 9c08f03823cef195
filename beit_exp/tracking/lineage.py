"""Which training a run belongs to that takes a trained network."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from beit_exp.config.mapping import read_mapping
from beit_exp.config.schema import Config
from beit_exp.config.traits import task_traits
from beit_exp.tracking.mlflow_write import PARENT_TAG
from beit_exp.tracking.records import SWEEP_FILE, read_state, read_sweep

TRAINED_BY_TAG = "beit_exp.trained_by"
INGREDIENTS_TAG = "beit_exp.soup_of"
MAX_TAG = 4000  # characters; a store takes 5000


class Training(NamedTuple):
    """The tracked run that a checkpoint is of."""

    run_id: str
    uri: str
    experiment: str


def find_training(checkpoint: str) -> Training | None:
    """The run whose directory a checkpoint is, or whose `checkpoints/` it stands in.

    Of a sweep's directory it is the parent of the jobs. None if it is another file, or was never
    tracked.
    """
    path = Path(checkpoint)
    if (path / SWEEP_FILE).is_file():
        return _parent_of_jobs(path)
    run_dir = trained_in(checkpoint)
    state = {} if run_dir is None else read_state(run_dir)
    return _training(state, run_dir) if run_dir is not None and "run_id" in state else None


def trained_in(checkpoint: str) -> Path | None:
    """The directory of a run that a checkpoint is, or in whose `checkpoints/` it stands.

    None if it is another file.
    """
    path = Path(checkpoint)
    is_kept = not path.is_dir() and path.parent.name == "checkpoints"
    run_dir = path.parent.parent if is_kept else path
    return run_dir if (run_dir / "config.yaml").is_file() else None


def _parent_of_jobs(sweep_dir: Path) -> Training | None:
    state, jobs = read_sweep(sweep_dir), sorted(sweep_dir.glob("*/config.yaml"))
    return _training(state, jobs[0].parent) if state.get("run_id") and jobs else None


def _training(state: dict[str, Any], run_dir: Path) -> Training:
    experiment = read_mapping(run_dir / "config.yaml")["tracking"]["experiment"]
    return Training(str(state["run_id"]), str(state["uri"]), str(experiment))


def ingredient_tags(run_dirs: Iterable[Path]) -> dict[str, str]:
    """Which runs' weights were averaged: their ids, or the names of those that are not tracked."""
    found = [str(read_state(run_dir).get("run_id", run_dir.name)) for run_dir in run_dirs]
    text = " ".join(dict.fromkeys(found))
    return {INGREDIENTS_TAG: textwrap.shorten(text, MAX_TAG, placeholder=" ...")}


def lineage_tags(cfg: Config) -> dict[str, str]:
    """What links a run to the training whose checkpoint it takes.

    MLflow shows it below that training, unless they are in different experiments or it belongs to a
    sweep of its own.
    """
    if not task_traits(cfg.task).needs_checkpoint:
        return {}
    training = find_training(str(cfg.checkpoint))
    if training is None:
        return {}
    tags = {TRAINED_BY_TAG: training.run_id}
    here = (str(cfg.tracking.uri), cfg.tracking.experiment)
    if here == (training.uri, training.experiment) and PARENT_TAG not in cfg.tracking.tags:
        tags[PARENT_TAG] = training.run_id
    return tags


def is_job(tags: dict[str, str]) -> bool:
    """Whether a run is a job of a sweep: it has a parent, which is not the training it examines."""
    return PARENT_TAG in tags and tags[PARENT_TAG] != tags.get(TRAINED_BY_TAG)
