"""Whether a job of a sweep is hopeless, by what the finished jobs beside it had reached by then."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from beit_exp.config.objective import is_lower_better, metric_of
from beit_exp.config.schema import Config
from beit_exp.config.traits import task_traits
from beit_exp.errors import MissingExtraError, UserError
from beit_exp.tracking.records import SWEEP_FILE, read_facts, read_records

PRUNED_TAG = "beit_exp.pruned"
STARTUP = 4  # finished jobs, before one is judged by them


def check_pruning(cfg: Config, run_dir: Path) -> None:
    """Raise `UserError` if `train.prune_after` has nothing to compare, or not what compares."""
    if cfg.train.prune_after is None or not task_traits(cfg.task).is_read("train.prune_after"):
        return
    if not (run_dir.absolute().parent / SWEEP_FILE).exists():
        raise UserError(
            f"train.prune_after = {cfg.train.prune_after}: must be null but in a sweep, for it "
            "compares a job with the others"
        )
    if find_spec("optuna") is None:
        raise MissingExtraError(f"train.prune_after = {cfg.train.prune_after}", "optuna")


def is_hopeless(run_dir: Path, *, objective: str, after: int) -> bool:
    """Whether the best result so far is worse than the median of the others' at the same epoch.

    Optuna's `MedianPruner` decides, fed from `metrics.jsonl`: of jobs that are at least `after`
    epochs old, and once `STARTUP` others are done.
    """
    import optuna  # half a second, and an optional package

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(logging.ERROR)
    name, states = metric_of(objective), optuna.trial.TrialState
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=after)
    direction = "minimize" if is_lower_better(name) else "maximize"
    study = optuna.create_study(direction=direction, pruner=pruner)
    for folder in compared_jobs(run_dir):
        if values := evaluations(folder, name):
            best = (min if direction == "minimize" else max)(values.values())
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.COMPLETE, value=best, intermediate_values=values
                )
            )
    own = evaluations(run_dir, name)
    trial = optuna.trial.create_trial(state=states.RUNNING, intermediate_values=own)
    return bool(pruner.prune(study, trial))


def compared_jobs(run_dir: Path) -> Iterator[Path]:
    """The directories of the other jobs of a sweep that are done, and were not ended early."""
    for folder in sorted(run_dir.absolute().parent.iterdir()):
        is_done = folder.name != run_dir.name and (folder / "metrics.json").is_file()
        if is_done and PRUNED_TAG not in read_facts(folder).get("tags", {}):
            yield folder


def evaluations(run_dir: Path, name: str) -> dict[int, float]:
    """Epoch -> what a run's evaluation found of a metric."""
    records: list[dict[str, Any]] = read_records(run_dir / "metrics.jsonl")
    return {round(record["epoch"]): record[name] for record in records if name in record}
