"""What a run reports: `metrics.jsonl` in its directory is the truth, an MLflow run is a copy of it.

MLflow is talked to by a thread of its own, so that neither its seconds of import nor a slow store delay a step.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import platform
import queue
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from beit_exp.config import Config, flatten
from beit_exp.files import replacing, write_atomically

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
Job = Callable[[Any, str], None] | dict[str, Any]
MAX_BATCH = 1000  # metrics in one request, MLflow's limit
CLOSE_TIMEOUT_S = 60.0
PARAM_LENGTH = 6000  # MLflow's limit


class Interrupted(BaseException):
    """The run was asked to stop: a signal, not a failure. Carries the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


class Tracker:
    """Takes metrics and files of one run."""

    def __init__(self, run_dir: Path, *, sink: MlflowSink | None) -> None:
        self.path = run_dir / "metrics.jsonl"
        self.sink = sink
        self.file = self.path.open("a")

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        """Append one record; `step` is the optimizer step."""
        record = {"step": step, "epoch": epoch, "time": round(time.time(), 3), **metrics}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        if self.sink:
            self.sink.put(record)

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Copy a file to the tracking store."""
        if self.sink:
            self.sink.put(lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def tag(self, name: str, value: str) -> None:
        if self.sink:
            self.sink.put(lambda client, run_id: client.set_tag(run_id, name, value))

    def rewind(self, *, step: int) -> None:
        """Forget what was logged after `step`: the run continues from there and will log it again, the same."""
        self.file.close()
        keep_records(self.path, up_to_step=step)
        self.file = self.path.open("a")

    def close(self, status: Status) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if self.sink:
            self.sink.close(status)


class NoTracker(Tracker):
    """What the other processes of a run report: nothing, for the first one reports for all."""

    def __init__(self) -> None:
        self.sink = None

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        pass

    def rewind(self, *, step: int) -> None:
        pass

    def close(self, status: Status) -> None:
        pass


@contextmanager
def start(cfg: Config, run_dir: Path, *, is_leader: bool = True) -> Iterator[Tracker]:
    """A tracker whose MLflow run ends as what happened: FINISHED, FAILED (any error) or KILLED (a signal)."""
    tracker = Tracker(run_dir, sink=MlflowSink(cfg, run_dir)) if is_leader else NoTracker()
    status: Status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Every whole record of a `metrics.jsonl`; a last line cut short by a crash is left out."""
    records = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            records.append(json.loads(line))
    return records


def keep_records(path: Path, *, up_to_step: int) -> None:
    """Drop the records after a step, and a line cut short."""
    kept = [record for record in read_records(path) if record["step"] <= up_to_step]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


class MlflowSink:
    """An MLflow run fed by a thread. If the store fails, the run goes on and says so once."""

    def __init__(self, cfg: Config, run_dir: Path) -> None:
        self.cfg = cfg
        self.run_dir = run_dir
        self.state_path = run_dir / "mlflow.json"
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.failure: Exception | None = None
        self.status: Status = "FAILED"
        self.thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self.thread.start()

    def put(self, job: Job) -> None:
        """Hand over a record to log, or a function of the client and the run id; dropped once the store has failed."""
        if self.failure is None:
            self.jobs.put(job)

    def close(self, status: Status) -> None:
        """Send what is left and end the MLflow run; waits a bounded time for a slow store."""
        self.status = status
        self.jobs.put(None)
        self.thread.join(CLOSE_TIMEOUT_S)
        if self.thread.is_alive():
            logger.warning("the tracking store %s did not answer in time; %s", self.uri, self.way_out)

    @property
    def way_out(self) -> str:
        return f"metrics.jsonl has it all; to send it later: python -m beit_exp.report sync {self.run_dir}"

    @property
    def uri(self) -> str:
        return str(self.cfg.tracking.uri)

    def _run(self) -> None:
        try:
            client, run_id, last_step = self._open()
            self._feed(client, run_id, last_step)
            client.set_terminated(run_id, self.status)
        except Exception as error:  # whatever the store or its client raise must not reach the training
            self.failure = error
            logger.warning(
                "the tracking store %s failed (%s); the run goes on and %s",
                self.uri,
                type(error).__name__,
                self.way_out,
            )

    def _open(self) -> tuple[Any, str, int]:
        """-> client, run id and the last step that an earlier, interrupted process has logged to it."""
        client, run_id = open_run(self.cfg, self.run_dir)
        history = client.get_metric_history(run_id, "train/loss")
        return client, run_id, max((metric.step for metric in history), default=-1)

    def _feed(self, client: Any, run_id: str, last_step: int) -> None:
        """Do the jobs in order, metrics in large batches, until told to stop."""
        from mlflow.entities import Metric

        pending: list[Metric] = []
        while True:
            job = self.jobs.get()
            if isinstance(job, dict):
                pending += [Metric(*entry) for entry in entries(job) if entry[3] > last_step]
            if pending and (self.jobs.empty() or len(pending) >= MAX_BATCH or not isinstance(job, dict)):
                for begin in range(0, len(pending), MAX_BATCH):
                    client.log_batch(run_id, metrics=pending[begin : begin + MAX_BATCH])
                pending = []
            if job is None:
                return
            if not isinstance(job, dict):
                job(client, run_id)


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


def sync(cfg: Config, run_dir: Path) -> int:
    """Send every metric of `metrics.jsonl` that the store lacks; returns how many. Twice changes nothing."""
    from mlflow.entities import Metric

    client, run_id = open_run(cfg, run_dir)
    records = read_records(run_dir / "metrics.jsonl")
    found = [entry for record in records for entry in entries(record)]
    known = {
        (name, metric.step)
        for name in {entry[0] for entry in found}
        for metric in client.get_metric_history(run_id, name)
    }
    missing = [Metric(*entry) for entry in found if (entry[0], entry[3]) not in known]
    for begin in range(0, len(missing), MAX_BATCH):
        client.log_batch(run_id, metrics=missing[begin : begin + MAX_BATCH])
    is_done = (run_dir / "metrics.json").exists()
    if is_done:
        client.log_artifact(run_id, str(run_dir / "metrics.json"))
        for path in sorted((run_dir / "plots").glob("*.png")):
            client.log_artifact(run_id, str(path), "plots")
    client.set_terminated(run_id, "FINISHED" if is_done else "KILLED")
    return len(missing)


def entries(record: dict[str, Any]) -> list[tuple[str, float, int, int]]:
    """(name, value, time in ms, step) of every metric of a record that a store can hold."""
    at_ms, step = int(record["time"] * 1000), record["step"]
    return [(name, value, at_ms, step) for name, value in record.items() if "/" in name and not math.isnan(value)]


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
