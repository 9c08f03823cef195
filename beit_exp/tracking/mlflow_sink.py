"""An MLflow run as a copy of `metrics.jsonl`, made by a thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beit_exp.config.command_line import module_command
from beit_exp.config.schema import Config
from beit_exp.tracking import mlflow_run, mlflow_write
from beit_exp.tracking.mlflow_model import log_model
from beit_exp.tracking.mlflow_store import reason
from beit_exp.tracking.records import (
    Status,
    parse,
    read_facts,
    read_records,
    read_whole_lines,
)

Upload = Callable[[Any, str], None]  # of the client and the run id; may be done twice
logger = logging.getLogger(__name__)

SEND_EVERY_S = 1.0
# The store is met after the first record, or this late: its client takes long to import
FIRST_CONTACT_S = 15.0
RETRY_S = (5.0, 60.0)  # first and longest pause after a failure of the store
CLOSE_TIMEOUT_S = 60.0
# After a signal: Slurm and Kubernetes kill what has not ended within 30 s of it
STOP_TIMEOUT_S = 15.0


class MlflowSink:
    """An MLflow run fed by a thread from `metrics.jsonl`.

    If the store fails, the run goes on and it is tried again.
    """

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

    def pause(self, change: Callable[[], object]) -> None:
        """Change `metrics.jsonl` while it is not being read; it is then read from its beginning."""
        with self.reading:
            change()
            self.offset = 0

    def close(self, status: Status) -> None:
        """Send what is left and end the MLflow run; waits a bounded time for a slow store."""
        self.status = status
        self.closing.set()
        self.has_record.set()
        self.thread.join(STOP_TIMEOUT_S if status == "KILLED" else CLOSE_TIMEOUT_S)
        if self.thread.is_alive():
            logger.warning(
                "the tracking store %s did not answer in time; %s", self.uri, self.way_out
            )

    @property
    def way_out(self) -> str:
        """What to do about a store that did not answer."""
        command = module_command("report", "sync", self.run_dir)
        return f"metrics.jsonl has it all; to send it later: {command}"

    @property
    def uri(self) -> str:
        """The store's address."""
        return str(self.cfg.tracking.uri)

    def _run(self) -> None:
        pause_s, has_failed = RETRY_S[0], False
        self.has_record.wait(FIRST_CONTACT_S)
        while True:
            is_last_try = self.closing.is_set()
            try:
                client, run_id = mlflow_run.open_run(self.cfg, self.run_dir)
                if has_failed:
                    logger.info("the tracking store %s is back", self.uri)
                    pause_s, has_failed = RETRY_S[0], False
                self._feed(client, run_id)
                return
            # Whatever the store or its client raise must not reach the training
            except Exception as error:
                why = f"the tracking store {self.uri} failed ({reason(error)})"
                if is_last_try:
                    logger.warning("%s; %s", why, self.way_out)
                    return
                if not has_failed:
                    logger.warning(
                        "%s; the run goes on and tries again, metrics.jsonl has it all", why
                    )
                has_failed = True
            self.closing.wait(pause_s)
            pause_s = min(2 * pause_s, RETRY_S[1])

    def _feed(self, client: Any, run_id: str) -> None:
        """Send what is new, again and again, until told to stop."""
        # What an earlier process, or an earlier try, has sent
        known = mlflow_write.last_steps(client, run_id)
        with self.reading:
            self.offset = 0
        while True:
            # Asked first: all that was logged before is sent
            is_last, waiting = self.closing.is_set(), len(self.uploads)
            while (records := self._read()) is not None:
                new = [
                    entry
                    for entry in mlflow_write.map_entries(records)
                    if entry.step > known.get(entry.name, -1)
                ]
                mlflow_write.send(client, run_id, new)
                known |= {entry.name: entry.step for entry in new}
            try:
                self._upload(client, run_id, waiting)
            finally:
                if is_last:
                    client.set_terminated(run_id, self.status)
            if is_last:
                return
            self.closing.wait(SEND_EVERY_S)

    def _upload(self, client: Any, run_id: str, waiting: int) -> None:
        """Do what has waited longest; what fails waits on, and lets the others pass."""
        failure: Exception | None = None
        for _ in range(waiting):
            job = self.uploads.popleft()
            try:
                job(client, run_id)
            except Exception as error:  # told by the caller
                self.uploads.append(job)
                failure = failure or error
        if failure:
            raise failure

    def _read(self) -> list[dict[str, Any]] | None:
        """The next whole records, a bounded number of them; None if there is none yet."""
        path = self.run_dir / "metrics.jsonl"
        with self.reading, path.open("rb") as file:
            file.seek(self.offset)
            lines = read_whole_lines(file)
            self.offset += sum(map(len, lines))
        if not lines:
            return None
        return [record for record in map(parse, lines) if record]


def sync(cfg: Config, run_dir: Path) -> int:
    """Send everything of a run that the store lacks; returns how many metrics.

    Twice changes nothing. Raises whatever the store or its client raise.
    """
    client, run_id = mlflow_run.open_run(cfg, run_dir)
    found = mlflow_write.map_entries(read_records(run_dir / "metrics.jsonl"))
    known = {
        (name, metric.step)
        for name in {entry.name for entry in found}
        for metric in client.get_metric_history(run_id, name)
    }
    missing = [entry for entry in found if (entry.name, entry.step) not in known]
    mlflow_write.send(client, run_id, missing)
    mlflow_write.send_facts(client, run_id, read_facts(run_dir))
    client.log_artifact(run_id, str(run_dir / "config.yaml"))
    is_done = (run_dir / "metrics.json").exists()
    if is_done:
        for path in (run_dir / "metrics.json", *sorted((run_dir / "plots").glob("*.png"))):
            client.log_artifact(run_id, str(path), "plots" if path.suffix == ".png" else None)
        if cfg.tracking.log_model is not None:
            log_model(client, run_id, cfg, run_dir)
    client.set_terminated(run_id, "FINISHED" if is_done else "KILLED")
    return len(missing)
