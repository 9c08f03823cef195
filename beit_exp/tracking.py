"""What a run reports: `metrics.jsonl` in its directory is the truth, an MLflow run is a copy of it.

MLflow is talked to by a thread of its own, so that neither its seconds of import nor a slow store delay a step.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from beit_exp import store
from beit_exp.config import Config
from beit_exp.files import write_atomically

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
Job = Callable[[Any, str], None] | dict[str, Any]
CLOSE_TIMEOUT_S = 60.0


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
        self.records = len(read_records(self.path)) if self.path.exists() else 0
        self.file = self.path.open("a")

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        """Append one record; `step` is the optimizer step."""
        record = {"step": step, "epoch": epoch, "time": round(time.time(), 3), **metrics}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        self.records += 1
        if self.sink:
            self.sink.put(record)

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Copy a file to the tracking store."""
        if self.sink:
            self.sink.put(lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def rewind(self, records: int) -> None:
        """Keep the first `records` alone: the run continues from there and will log the others again, the same."""
        self.file.close()
        keep_records(self.path, records)
        self.records = records
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
        self.records = 0

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        pass

    def rewind(self, records: int) -> None:
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


def keep_records(path: Path, count: int) -> None:
    """Drop all but the first records, and a line cut short."""
    kept = read_records(path)[:count]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


class MlflowSink:
    """An MLflow run fed by a thread. If the store fails, the run goes on and says so once."""

    def __init__(self, cfg: Config, run_dir: Path) -> None:
        self.cfg = cfg
        self.run_dir = run_dir
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
            client, run_id = store.open_run(self.cfg, self.run_dir)
            self._feed(client, run_id)
            client.set_terminated(run_id, self.status)
        except Exception as error:  # whatever the store or its client raise must not reach the training
            self.failure = error
            logger.warning(
                "the tracking store %s failed (%s); the run goes on and %s",
                self.uri,
                type(error).__name__,
                self.way_out,
            )

    def _feed(self, client: Any, run_id: str) -> None:
        """Do the jobs in order, metrics in large batches, until told to stop."""
        known = store.last_steps(client, run_id)  # what an earlier, interrupted process has sent
        pending: list[store.Entry] = []
        while True:
            job = self.jobs.get()
            if isinstance(job, dict):
                pending += [entry for entry in store.entries(job) if entry.step > known.get(entry.name, -1)]
            if pending and (self.jobs.empty() or len(pending) >= store.MAX_BATCH or not isinstance(job, dict)):
                store.send(client, run_id, pending)
                pending = []
            if job is None:
                return
            if not isinstance(job, dict):
                job(client, run_id)


def sync(cfg: Config, run_dir: Path) -> int:
    """Send every metric of `metrics.jsonl` that the store lacks; returns how many. Twice changes nothing."""
    client, run_id = store.open_run(cfg, run_dir)
    found = [entry for record in read_records(run_dir / "metrics.jsonl") for entry in store.entries(record)]
    known = {
        (name, metric.step)
        for name in {entry.name for entry in found}
        for metric in client.get_metric_history(run_id, name)
    }
    missing = [entry for entry in found if (entry.name, entry.step) not in known]
    store.send(client, run_id, missing)
    is_done = (run_dir / "metrics.json").exists()
    if is_done:
        client.log_artifact(run_id, str(run_dir / "metrics.json"))
        for path in sorted((run_dir / "plots").glob("*.png")):
            client.log_artifact(run_id, str(path), "plots")
    client.set_terminated(run_id, "FINISHED" if is_done else "KILLED")
    return len(missing)
