"""The tracking store: the run that a run directory belongs to, and what is sent to it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from beit_exp.config.mapping import flatten
from beit_exp.config.schema import Config
from beit_exp.config.traits import task_traits
from beit_exp.storage.files import write_atomically
from beit_exp.tracking.mlflow_store import open_experiment
from beit_exp.tracking.records import read_facts
from beit_exp.tracking.run_name import run_name, typed_overrides

MAX_BATCH = 1000  # metrics in one request, MLflow's limit
PARAM_LENGTH = 6000  # MLflow's limit
PARENT_TAG = "mlflow.parentRunId"
EPOCH_METRIC = "time/epoch"
STATE_FILE = "mlflow.json"  # in a run directory: the store, and the id of the run in it
DIGEST_LENGTH = 8  # as MLflow's own data sets have


class Entry(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    at_ms: int
    step: int


def open_run(cfg: Config, run_dir: Path) -> tuple[Any, str]:
    """An MLflow client and the id of the run that belongs to a run directory.

    The run is created if need be, and is running from now on. Its parameters are the settings that
    its task reads; `config.yaml` holds them all. `FileNotFoundError` if the directory is gone.
    """
    from mlflow.entities import Param

    if not (run_dir / "config.yaml").exists():  # another run would be made of nothing
        raise FileNotFoundError(f"{run_dir} was moved or deleted")
    client, experiment_id = open_experiment(str(cfg.tracking.uri), cfg.tracking.experiment)
    state_path = run_dir / STATE_FILE
    if state_path.exists():
        run_id = str(json.loads(state_path.read_text())["run_id"])
        client.update_run(run_id, status="RUNNING")
        return client, run_id
    facts = read_facts(run_dir).get("tags", {})
    name = cfg.tracking.run_name or run_name(typed_overrides(facts), run_dir)
    tags = {**cfg.tracking.tags, **facts, "beit_exp.run_dir": str(run_dir.resolve())}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    write_atomically(
        state_path, json.dumps({"uri": str(cfg.tracking.uri), "run_id": run_id}).encode()
    )
    is_read = task_traits(cfg.task).is_read
    params = [
        Param(key, str(value)[:PARAM_LENGTH]) for key, value in flatten(cfg).items() if is_read(key)
    ]
    client.log_batch(run_id, params=params)
    client.log_artifact(run_id, str(run_dir / "config.yaml"))
    return client, run_id


def last_steps(client: Any, run_id: str) -> dict[str, int]:
    """The last step that a run holds of each of its metrics."""
    names = client.get_run(run_id).data.metrics
    return {
        name: max(metric.step for metric in client.get_metric_history(run_id, name))
        for name in names
    }


def send(client: Any, run_id: str, found: list[Entry]) -> None:
    """Log metrics, in as few requests as the store allows."""
    from mlflow.entities import Metric

    for begin in range(0, len(found), MAX_BATCH):
        batch = [
            Metric(entry.name, entry.value, entry.at_ms, entry.step)
            for entry in found[begin : begin + MAX_BATCH]
        ]
        client.log_batch(run_id, metrics=batch)


def entries(record: dict[str, Any]) -> list[Entry]:
    """The metrics of a record of `metrics.jsonl` that a store can hold."""
    at_ms, step = int(record["time"] * 1000), record["step"]
    metrics = {
        name: value for name, value in record.items() if "/" in name and not math.isnan(value)
    }
    metrics[EPOCH_METRIC] = record["epoch"]
    return [Entry(name, value, at_ms, step) for name, value in metrics.items()]


def map_entries(records: list[dict[str, Any]]) -> list[Entry]:
    """Every metric of some records."""
    return [entry for record in records for entry in entries(record)]


def send_facts(client: Any, run_id: str, facts: dict[str, Any]) -> None:
    """Tags and data sets of a run; twice changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag

    client.log_batch(
        run_id, tags=[RunTag(name, value) for name, value in facts.get("tags", {}).items()]
    )
    inputs = [
        DatasetInput(
            Dataset(
                name=found["name"],
                digest=short_digest(found),
                source_type="local"
                if "://" not in found["source"]
                else found["source"].partition("://")[0],
                source=json.dumps({"uri": found["source"]}),
                profile=json.dumps({"images": found["images"], "classes": found["classes"]}),
            ),
            tags=[InputTag("mlflow.data.context", found["context"])],
        )
        for found in facts.get("datasets", [])
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def short_digest(dataset: dict[str, Any]) -> str:
    """What MLflow knows a data set by, of what `data.description.describe` says of it."""
    return str(dataset["digest"][:DIGEST_LENGTH])
