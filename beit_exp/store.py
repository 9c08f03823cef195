"""The tracking store: MLflow's client, the experiment and the run that a run directory belongs to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from beit_exp.config import Config, flatten
from beit_exp.files import replacing, write_atomically

MAX_BATCH = 1000  # metrics in one request, MLflow's limit
PARAM_LENGTH = 6000  # MLflow's limit
OWN_PLACE = ("tracking.run_name", "tracking.tags")  # MLflow shows them without being asked
REASON_LENGTH = 160
SERVED_WITH = (
    "mlflow",
    "mindspore",
    "numba",
    "numpy",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "omegaconf",
)
FACTS_FILE = "facts.json"  # in a run directory
MODEL_TAG = "beit_exp.model"
PARENT_TAG = "mlflow.parentRunId"
EPOCH_METRIC = "time/epoch"
PACKAGE = Path(__file__).resolve().parent


class Entry(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    at_ms: int
    step: int


def open_run(cfg: Config, run_dir: Path) -> tuple[Any, str]:
    """An MLflow client and the id of the run that belongs to a run directory, created if need be."""
    from mlflow.entities import Param

    client, experiment_id = open_experiment(str(cfg.tracking.uri), cfg.tracking.experiment)
    state_path = run_dir / "mlflow.json"
    if state_path.exists():
        run_id = str(json.loads(state_path.read_text())["run_id"])
        client.update_run(run_id, status="RUNNING")
        return client, run_id
    name = cfg.tracking.run_name or f"{cfg.model.arch} {run_dir.name}"
    run_id = str(client.create_run(experiment_id, tags=cfg.tracking.tags, run_name=name).info.run_id)
    write_atomically(state_path, json.dumps({"uri": str(cfg.tracking.uri), "run_id": run_id}).encode())
    settings = {key: value for key, value in flatten(cfg).items() if key not in OWN_PLACE}
    params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in settings.items()]
    client.log_batch(run_id, params=params)
    client.log_artifact(run_id, str(run_dir / "config.yaml"))
    return client, run_id


def reason(error: Exception) -> str:
    """What a store's failure says of itself, on one line of bounded length."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:REASON_LENGTH]}"


def last_steps(client: Any, run_id: str) -> dict[str, int]:
    """The last step that a run holds of each of its metrics."""
    names = client.get_run(run_id).data.metrics
    return {name: max(metric.step for metric in client.get_metric_history(run_id, name)) for name in names}


def send(client: Any, run_id: str, found: list[Entry]) -> None:
    """Log metrics, in as few requests as the store allows."""
    from mlflow.entities import Metric

    for begin in range(0, len(found), MAX_BATCH):
        batch = [Metric(entry.name, entry.value, entry.at_ms, entry.step) for entry in found[begin : begin + MAX_BATCH]]
        client.log_batch(run_id, metrics=batch)


def entries(record: dict[str, Any]) -> list[Entry]:
    """The metrics of a record of `metrics.jsonl` that a store can hold."""
    at_ms, step = int(record["time"] * 1000), record["step"]
    metrics = {name: value for name, value in record.items() if "/" in name and not math.isnan(value)}
    metrics[EPOCH_METRIC] = record["epoch"]
    return [Entry(name, value, at_ms, step) for name, value in metrics.items()]


def read_facts(run_dir: Path) -> dict[str, Any]:
    """What a run directory tells of its run besides the settings: see `Tracker.log_facts`."""
    path = run_dir / FACTS_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def merge(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Facts of both; tags are added to, the rest is replaced."""
    return {**known, **new, "tags": {**known.get("tags", {}), **new.get("tags", {})}}


def send_facts(client: Any, run_id: str, facts: dict[str, Any]) -> None:
    """Tags and data sets of a run; twice changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in facts.get("tags", {}).items()])
    inputs = [
        DatasetInput(
            Dataset(
                name=found["name"],
                digest=found["digest"],
                source_type="local" if "://" not in found["source"] else found["source"].partition("://")[0],
                source=json.dumps({"uri": found["source"]}),
                profile=json.dumps({"images": found["images"], "classes": found["classes"]}),
            ),
            tags=[InputTag("mlflow.data.context", found["context"])],
        )
        for found in facts.get("datasets", [])
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def log_model(client: Any, run_id: str, cfg: Config, run_dir: Path) -> None:
    """Log the best network as an MLflow model that takes images (see `served.py`), and register it; once."""
    if MODEL_TAG in client.get_run(run_id).data.tags:
        return
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    mlflow.set_tracking_uri(str(cfg.tracking.uri))  # logging a model knows no client
    inputs = [ColSpec("binary", "image", required=False), ColSpec("string", "path", required=False)]
    logged = Model.log(
        artifact_path=None,  # the name before MLflow 3
        name=cfg.model.arch,
        flavor=mlflow.pyfunc,
        run_id=run_id,
        registered_model_name=cfg.tracking.log_model,
        python_model=str(PACKAGE / "served.py"),
        code_paths=[str(PACKAGE)],
        artifacts={
            "config": str(run_dir / "config.yaml"),
            "checkpoint": str(run_dir / "checkpoints" / "best.safetensors"),
        },
        signature=ModelSignature(inputs=Schema(inputs)),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in SERVED_WITH],
    )
    client.set_tag(run_id, MODEL_TAG, logged.model_uri)


def resolve_uri(configured: str | None) -> str:
    """The store in use: the configured one, else MLFLOW_TRACKING_URI, else a SQLite file in the current folder."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def open_store(uri: str) -> Any:
    """An MLflow client that gives up on a dead server in seconds instead of minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # a failing store is told in one line of ours
    return MlflowClient(uri)


def open_experiment(uri: str, name: str) -> tuple[Any, str]:
    """An MLflow client and the id of an experiment, created if need be.

    A new SQLite store is set up under a lock and under another name: MLflow's migrations crash when several processes
    start them at once, and leave a store that nobody can open when they are killed.
    """
    with _store_lock(uri) as folder:
        if folder is not None:
            _make_database(Path(uri.removeprefix("sqlite:///")))
        client = open_store(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return client, experiment.experiment_id
        location = None if folder is None else (folder / "mlruns" / name).as_uri()
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the page opens with the table of runs
        return client, client.create_experiment(name, artifact_location=location, tags=kind)


def _make_database(path: Path) -> None:
    """Let MLflow make its tables in a temporary file, and give that the name once they are complete."""
    if path.exists():
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / path.name
        open_store(f"sqlite:///{draft}").search_experiments(max_results=1)
        with (
            replacing(path) as temporary,
            contextlib.closing(sqlite3.connect(draft)) as source,
            contextlib.closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)


@contextmanager
def _store_lock(uri: str) -> Iterator[Path | None]:
    """Alone with a SQLite store; yields its folder. Nothing to lock for a server."""
    if not uri.startswith("sqlite:///"):
        yield None
        return
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield database.parent
