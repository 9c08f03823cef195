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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from beit_exp.config.command_line import module_command
from beit_exp.config.schema import Config
from beit_exp.errors import Interrupted, UserError
from beit_exp.hardware.environment import environment_tags
from beit_exp.storage.files import write_atomically
from beit_exp.storage.filesystem import network_filesystem
from beit_exp.tracking import mlflow_write
from beit_exp.tracking.lineage import lineage_tags
from beit_exp.tracking.mlflow_sink import MlflowSink, Upload
from beit_exp.tracking.mlflow_store import SQLITE, whole_uri
from beit_exp.tracking.records import (
    FACTS_FILE,
    Status,
    count_records,
    keep_records,
    merge,
    read_facts,
    read_records,
)
from beit_exp.tracking.run_name import typed_tag

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes metrics, files and facts of one run."""

    records: int  # in `metrics.jsonl` so far

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        """Append one record; `step` is the optimizer step."""

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Copy a file to the tracking store."""

    def log_facts(self, **facts: Any) -> None:
        """Keep what is known of a run besides its settings.

        `tags` is text by name, `datasets` what `data.description.describe` says of each.
        """

    def upload(self, job: Upload) -> None:
        """Do something with the run in the tracking store, when it answers."""

    def sync(self) -> None:
        """Have all records on disk: a checkpoint counts them.

        `UserError` if the run's directory is no longer where it was: files of two places would make
        no run.
        """

    def rewind(self, records: int) -> None:
        """Keep the first `records` alone: the run logs the others again, the same.

        The next one tells how long no record was made, all but a few steps of which were no
        training: `time/pause_s`.
        """


class RunTracker:
    """The tracker of a run: writes its directory, and lets a thread copy that to the store."""

    def __init__(self, run_dir: Path, *, sink: MlflowSink) -> None:
        self.run_dir = run_dir
        self.path = run_dir / "metrics.jsonl"
        self.sink = sink
        self.records = count_records(self.path)
        self.file = self.path.open("a")
        self.paused_at: float | None = None  # when the last record was made that a rewind kept

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        record = {"step": step, "epoch": epoch, "time": round(time.time(), 3)}
        if self.paused_at is not None:  # a clock may be set back
            record["time/pause_s"] = round(max(0.0, time.time() - self.paused_at), 3)
            self.paused_at = None
        record |= metrics
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        self.records += 1
        self.sink.has_record.set()

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        self.upload(lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def log_facts(self, **facts: Any) -> None:
        self._check_place()
        known = merge(read_facts(self.run_dir), facts)
        write_atomically(self.run_dir / FACTS_FILE, json.dumps(known, indent=1).encode())
        self.upload(lambda client, run_id: mlflow_write.send_facts(client, run_id, facts))

    def upload(self, job: Upload) -> None:
        self.sink.uploads.append(job)

    def sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self._check_place()

    def _check_place(self) -> None:
        """`UserError` unless the file that is written is still the one that others find."""
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self.file.fileno())):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise UserError(
            f"{self.run_dir} was moved or deleted while its run was at work; to go on: "
            f"{module_command('worker', 'WHERE_IT_IS_NOW')}"
        )

    def rewind(self, records: int) -> None:
        self._check_place()
        self.file.close()
        damaged: list[int] = []
        self.sink.pause(lambda: damaged.extend(keep_records(self.path, records)))
        tell_damaged(self.path, damaged)
        kept = read_records(self.path)
        self.paused_at = kept[-1]["time"] if kept else None
        self.records = records
        self.file = self.path.open("a")

    def close(self, status: Status) -> None:
        """Write out what is left, and end the MLflow run with a status."""
        try:
            if not self.file.closed:  # as it is where it could not be opened again
                with closing(self.file):
                    self.sync()
        finally:
            self.sink.close(status)


class NoTracker:
    """The tracker of the other processes of a run: the first one reports for all."""

    records = 0

    def log(self, metrics: dict[str, float], *, step: int, epoch: float) -> None:
        pass

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        pass

    def log_facts(self, **facts: Any) -> None:
        pass

    def upload(self, job: Upload) -> None:
        pass

    def sync(self) -> None:
        pass

    def rewind(self, records: int) -> None:
        pass


def tell_damaged(path: Path, lines: list[int]) -> None:
    """Say which lines are lost, if any."""
    if lines:
        listed = ", ".join(map(str, lines))
        logger.error(
            "%s: line %s is damaged, and its metrics are lost; the run goes on", path, listed
        )


def tell_network(uri: str) -> None:
    """Say so where a SQLite store lies on a network file system: its locks do not hold there."""
    found = network_filesystem(Path(uri.removeprefix(SQLITE))) if uri.startswith(SQLITE) else None
    if found is not None:
        logger.warning(
            "tracking.uri = %s lies on %s: runs of several nodes that write to it at once can "
            "damage it, for SQLite's locks do not hold there. Give the address of an MLflow "
            "server (mlflow server), or a place on a local disk",
            uri,
            found,
        )


@contextmanager
def open_tracker(cfg: Config, run_dir: Path, *, is_leader: bool = True) -> Iterator[Tracker]:
    """A tracker whose MLflow run ends as what happened.

    That is FINISHED, FAILED (any error, but in a run that was done and logged nothing more) or
    KILLED (a signal). `UserError` if the store's address lacks its password.
    """
    if not is_leader:
        yield NoTracker()
        return
    whole_uri(str(cfg.tracking.uri))  # at once, for a thread could only warn
    tell_network(str(cfg.tracking.uri))
    path = run_dir / "metrics.jsonl"
    path.touch()
    # Without a last line that a crash cut short
    tell_damaged(path, keep_records(path, count_records(path)))
    tags = {**environment_tags(), **typed_tag(), **lineage_tags(cfg)}
    tracker = RunTracker(run_dir, sink=MlflowSink(cfg, run_dir))
    tracker.log_file(run_dir / "config.yaml")
    tracker.log_facts(tags=tags)
    status: Status = "FAILED"
    was_done, known = (run_dir / "metrics.json").exists(), tracker.records
    try:
        yield tracker
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    except Exception:
        # A run that is done stays so if it cannot be gone over again
        status = "FINISHED" if was_done and tracker.records == known else "FAILED"
        raise
    finally:
        tracker.close(status)
