"""The tracking store: MLflow's client, the experiment and the run that a run directory belongs to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import platform
import shutil
import sqlite3
import subprocess
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
    tags = {**environment_tags(), **cfg.tracking.tags}
    name = cfg.tracking.run_name or f"{cfg.model.arch} {run_dir.name}"
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    write_atomically(state_path, json.dumps({"uri": str(cfg.tracking.uri), "run_id": run_id}).encode())
    params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in flatten(cfg).items()]
    client.log_batch(run_id, params=params)
    client.log_artifact(run_id, str(run_dir / "config.yaml"))
    return client, run_id


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
    return [Entry(name, value, at_ms, step) for name, value in metrics.items()]


def environment_tags() -> dict[str, str]:
    """What a result may depend on besides the settings: code, versions, machine."""
    tags = {"host": platform.node(), "python": platform.python_version()}
    tags |= {name: metadata.version(name) for name in ("mindspore", "numpy")}
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists() and shutil.which("git"):
        git = ["git", "-C", str(root)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
        tags |= {"git.commit": commit.stdout.strip(), "git.dirty": str(bool(changed.stdout.strip())).lower()}
    return tags


def resolve_uri(configured: str | None) -> str:
    """The store in use: the configured one, else MLFLOW_TRACKING_URI, else a SQLite file in the current folder."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def open_store(uri: str) -> Any:
    """An MLflow client that gives up on a dead server in seconds instead of minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
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
        return client, client.create_experiment(name, artifact_location=location)


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
