"""What is sent to the run of a tracking store: metrics, tags, data sets."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

MAX_BATCH = 1000  # metrics in one request, MLflow's limit
PARENT_TAG = "mlflow.parentRunId"
EPOCH_METRIC = "time/epoch"
DIGEST_LENGTH = 8  # as MLflow's own data sets have


class Entry(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    at_ms: int
    step: int


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
