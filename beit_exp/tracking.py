"""What a run reports: `metrics.jsonl` in its directory is the truth, an MLflow run is a copy of it.

MLflow is talked to by a thread of its own, so that neither its seconds of import nor a slow store delay a step. The
thread reads `metrics.jsonl` like a stranger would, so what waits for a store that is slow or down waits on disk.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from beit_exp import store
from beit_exp.config import Config
from beit_exp.environment import environment_tags
from beit_exp.files import write_atomically

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
Upload = Callable[[Any, str], None]  # of the client and the run id; may be done twice
SEND_EVERY_S = 1.0
FIRST_CONTACT_S = 15.0  # the store is met after the first record, or this late: its client takes long to import
RETRY_S = (5.0, 60.0)  # first and longest pause after a failure of the store
CLOSE_TIMEOUT_S = 60.0
READ_BYTES = 1 << 20


class Interrupted(BaseException):
    """The run was asked to stop: a signal, not a failure. Carries the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


class Tracker:
    """Takes metrics, files and facts of one run."""

    def __init__(self, run_dir: Path, *, sink: MlflowSink | None) -> None:
        self.run_dir = run_dir
        self.path = run_dir / "metrics.jsonl"
        self.sink = sink
        self.records = len(read_records(self.path))
        self.file = self.path.open("a")

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        """Append one record; `step` is the optimizer step."""
        record = {"step": step, "epoch": epoch, "time": round(time.time(), 3), **metrics}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        self.records += 1
        if self.sink:
            self.sink.has_record.set()

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Copy a file to the tracking store."""
        self.upload(lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def log_facts(self, **facts: Any) -> None:
        """What is known of a run besides its settings: `tags` (text by name), `datasets` (see `data.sources`)."""
        path = self.run_dir / store.FACTS_FILE
        write_atomically(path, json.dumps(store.merge(store.read_facts(self.run_dir), facts), indent=1).encode())
        self.upload(lambda client, run_id: store.send_facts(client, run_id, facts))

    def upload(self, job: Upload) -> None:
        """Do something with the run in the tracking store, when it answers."""
        if self.sink:
            self.sink.uploads.append(job)

    def rewind(self, records: int) -> None:
        """Keep the first `records` alone: the run continues from there and will log the others again, the same."""
        self.file.close()
        if self.sink:
            self.sink.pause(lambda: keep_records(self.path, records))
        else:
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

    def log_facts(self, **facts: Any) -> None:
        pass

    def rewind(self, records: int) -> None:
        pass

    def close(self, status: Status) -> None:
        pass


@contextmanager
def start(cfg: Config, run_dir: Path, *, is_leader: bool = True) -> Iterator[Tracker]:
    """A tracker whose MLflow run ends as what happened: FINISHED, FAILED (any error) or KILLED (a signal)."""
    if is_leader:
        path = run_dir / "metrics.jsonl"
        path.touch()
        keep_records(path, len(read_records(path)))  # without a last line that a crash cut short
        tracker = Tracker(run_dir, sink=MlflowSink(cfg, run_dir))
        tracker.log_facts(tags=environment_tags())
    else:
        tracker = NoTracker()
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
    """An MLflow run fed by a thread from `metrics.jsonl`. If the store fails, the run goes on and it is tried again."""

    def __init__(self, cfg: Config, run_dir: Path) -> None:
        self.cfg = cfg
        self.run_dir = run_dir
        self.uploads: deque[Upload] = deque()
        self.status: Status = "FAILED"
        self.has_record = threading.Event()
        self.closing = threading.Event()
        self.reading = threading.Lock()
        self.offset = 0  # bytes of metrics.jsonl that have been read
        self.thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self.thread.start()

    def pause(self, change: Callable[[], None]) -> None:
        """Change `metrics.jsonl` while it is not being read; it is then read from its beginning."""
        with self.reading:
            change()
            self.offset = 0

    def close(self, status: Status) -> None:
        """Send what is left and end the MLflow run; waits a bounded time for a slow store."""
        self.status = status
        self.closing.set()
        self.has_record.set()
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
        pause_s, has_failed = RETRY_S[0], False
        self.has_record.wait(FIRST_CONTACT_S)
        while True:
            is_last_try = self.closing.is_set()
            try:
                client, run_id = store.open_run(self.cfg, self.run_dir)
                if has_failed:
                    logger.info("the tracking store %s is back", self.uri)
                    pause_s, has_failed = RETRY_S[0], False
                self._feed(client, run_id)
                return
            except Exception as error:  # whatever the store or its client raise must not reach the training
                why = f"the tracking store {self.uri} failed ({store.reason(error)})"
                if is_last_try:
                    logger.warning("%s; %s", why, self.way_out)
                    return
                if not has_failed:
                    logger.warning("%s; the run goes on and tries again, metrics.jsonl has it all", why)
                has_failed = True
            self.closing.wait(pause_s)
            pause_s = min(2 * pause_s, RETRY_S[1])

    def _feed(self, client: Any, run_id: str) -> None:
        """Send what is new, again and again, until told to stop."""
        known = store.last_steps(client, run_id)  # what an earlier process, or an earlier try, has sent
        with self.reading:
            self.offset = 0
        while True:
            is_last = self.closing.is_set()  # asked first: all that was logged before is sent
            while records := self._read():
                new = [entry for entry in map_entries(records) if entry.step > known.get(entry.name, -1)]
                store.send(client, run_id, new)
                known |= {entry.name: entry.step for entry in new}
            try:
                self._upload(client, run_id)
            finally:
                if is_last:
                    client.set_terminated(run_id, self.status)
            if is_last:
                return
            self.closing.wait(SEND_EVERY_S)

    def _upload(self, client: Any, run_id: str) -> None:
        """Do what waits; what fails waits on, and lets the others pass."""
        failure: Exception | None = None
        for _ in range(len(self.uploads)):
            job = self.uploads.popleft()
            try:
                job(client, run_id)
            except Exception as error:  # told by the caller
                self.uploads.append(job)
                failure = failure or error
        if failure:
            raise failure

    def _read(self) -> list[dict[str, Any]]:
        """The next whole records, a bounded number of them."""
        path = self.run_dir / "metrics.jsonl"
        with self.reading, path.open("rb") as file:
            file.seek(self.offset)
            lines = read_whole_lines(file)
            self.offset += sum(map(len, lines))
        return [json.loads(line) for line in lines]


def read_whole_lines(file: BinaryIO) -> list[bytes]:
    """Lines from here on that are complete, of about a megabyte."""
    return [line for line in file.readlines(READ_BYTES) if line.endswith(b"\n")]


def map_entries(records: list[dict[str, Any]]) -> list[store.Entry]:
    """Every metric of some records."""
    return [entry for record in records for entry in store.entries(record)]


def sync(cfg: Config, run_dir: Path) -> int:
    """Send everything of a run that the store lacks; returns how many metrics. Twice changes nothing."""
    client, run_id = store.open_run(cfg, run_dir)
    found = map_entries(read_records(run_dir / "metrics.jsonl"))
    known = {
        (name, metric.step)
        for name in {entry.name for entry in found}
        for metric in client.get_metric_history(run_id, name)
    }
    missing = [entry for entry in found if (entry.name, entry.step) not in known]
    store.send(client, run_id, missing)
    store.send_facts(client, run_id, store.read_facts(run_dir))
    is_done = (run_dir / "metrics.json").exists()
    if is_done:
        for path in (run_dir / "metrics.json", *sorted((run_dir / "plots").glob("*.png"))):
            client.log_artifact(run_id, str(path), "plots" if path.suffix == ".png" else None)
        if cfg.tracking.log_model is not None:
            store.log_model(client, run_id, cfg, run_dir)
    client.set_terminated(run_id, "FINISHED" if is_done else "KILLED")
    return len(missing)
