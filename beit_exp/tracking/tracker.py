"""What a run reports: `metrics.jsonl` in its directory is the truth, an MLflow run is a copy of it.

MLflow is talked to by a thread of its own, so that neither its seconds of import nor a slow store
delay a step. The thread reads `metrics.jsonl` like a stranger would, so what waits for a store that
is slow or down waits on disk.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beit_exp.config.schema import Config
from beit_exp.errors import Interrupted
from beit_exp.hardware.environment import environment_tags
from beit_exp.storage.files import write_atomically
from beit_exp.tracking import mlflow_write
from beit_exp.tracking.mlflow_sink import MlflowSink, Upload
from beit_exp.tracking.records import (
    FACTS_FILE,
    Status,
    keep_records,
    merge,
    read_facts,
    read_records,
)

logger = logging.getLogger(__name__)


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
        """What is known of a run besides its settings:

        `tags` (text by name), `datasets` (see `data.sources`).
        """
        path = self.run_dir / FACTS_FILE
        write_atomically(
            path, json.dumps(merge(read_facts(self.run_dir), facts), indent=1).encode()
        )
        self.upload(lambda client, run_id: mlflow_write.send_facts(client, run_id, facts))

    def upload(self, job: Upload) -> None:
        """Do something with the run in the tracking store, when it answers."""
        if self.sink:
            self.sink.uploads.append(job)

    def rewind(self, records: int) -> None:
        """Keep the first `records` alone: the run continues from there and will log the others
        again, the same.
        """
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
def open_tracker(cfg: Config, run_dir: Path, *, is_leader: bool = True) -> Iterator[Tracker]:
    """A tracker whose MLflow run ends as what happened:

    FINISHED, FAILED (any error) or KILLED (a signal).
    """
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
