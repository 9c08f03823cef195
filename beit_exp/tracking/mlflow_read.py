"""Runs as an MLflow store holds them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from beit_exp.tracking.lineage import is_job
from beit_exp.tracking.mlflow_store import open_store
from beit_exp.tracking.mlflow_write import EPOCH_METRIC, PARENT_TAG


class StoredRun(NamedTuple):
    """A run as the store holds it."""

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    records: list[dict[str, Any]]  # as in metrics.jsonl


def find_runs(uri: str, name: str) -> list[StoredRun]:
    """The run with an id, or the jobs of the sweep with that id, or the runs of an experiment.

    Of an experiment, sweeps are left out. An evaluation below its training is a run by itself.
    """
    client = open_store(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        found = client.search_runs(
            [experiment.experiment_id], order_by=["attributes.start_time ASC"]
        )
        sweeps = {run.data.tags[PARENT_TAG] for run in found if is_job(run.data.tags)}
        found = [run for run in found if run.info.run_id not in sweeps]
    else:
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        below = client.search_runs(
            everywhere, f"tags.`{PARENT_TAG}` = '{name}'", order_by=["attributes.start_time ASC"]
        )
        jobs = [run for run in below if is_job(run.data.tags)]
        found = jobs or list(client.search_runs(everywhere, f"attributes.run_id = '{name}'"))
    return [
        StoredRun(
            run.info.run_id,
            run.info.run_name,
            run.info.status,
            run.data.params,
            _records(client, run),
        )
        for run in found
    ]


def _records(client: Any, run: Any) -> list[dict[str, Any]]:
    """A run's metrics by step, each with the time and the epoch at which it was logged."""
    by_step: dict[int, dict[str, Any]] = {}
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            record = by_step.setdefault(
                metric.step, {"step": metric.step, "time": metric.timestamp / 1000}
            )
            record[name] = metric.value
    for record in by_step.values():
        record["epoch"] = record.pop(EPOCH_METRIC, 0.0)
    return [by_step[step] for step in sorted(by_step)]


def read_artifacts(uri: str, run_id: str, paths: dict[str, str]) -> dict[str, bytes]:
    """Name -> content of those of a run's files that there are.

    `paths` are name -> path in the run.
    """
    client = open_store(uri)
    folders = {str(Path(path).parent) for path in paths.values()}
    there = {entry.path for folder in folders for entry in client.list_artifacts(run_id, folder)}
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: Path(client.download_artifacts(run_id, path, folder)).read_bytes()
            for name, path in paths.items()
            if path in there
        }
