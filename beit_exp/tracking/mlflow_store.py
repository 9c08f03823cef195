"""The tracking store: which one, its client, its experiments."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from beit_exp.errors import UserError
from beit_exp.storage.files import replacing
from beit_exp.storage.passwords import HIDDEN, hide_password

REASON_LENGTH = 240
SQLITE = "sqlite:///"
URI = "MLFLOW_TRACKING_URI"
CAUSE = "(Caused by "
LOCK_TIMEOUT_S, LOCK_POLL_S = 60.0, 0.02  # of a SQLite store; it is held for parts of a second


def resolve_uri(configured: str | None) -> str:
    """The store in use, as it may be kept and shown: the configured one, else MLFLOW_TRACKING_URI.

    Without either it is a SQLite file in the current folder. A relative file of SQLite is told by
    its whole path: later commands may be typed elsewhere. A password of the environment's is `***`.
    """
    uri = configured or hide_password(os.environ.get(URI, "")) or f"{SQLITE}mlflow.db"
    path = uri.removeprefix(SQLITE)
    if not uri.startswith(SQLITE) or path in ("", ":memory:"):
        return uri
    return f"{SQLITE}{Path(path).absolute()}"


def whole_uri(uri: str) -> str:
    """A store's address with its password, which the environment alone holds.

    `UserError` where that is not so.
    """
    if HIDDEN not in uri:
        return uri
    given = os.environ.get(URI, "")
    if hide_password(given) != uri:
        raise UserError(
            f"tracking.uri = {uri!r}: its password is kept nowhere; set the environment variable "
            f"{URI} to the same address with the password for {HIDDEN}"
        )
    return given


def open_store(uri: str) -> Any:
    """An MLflow client that gives up on a dead server in seconds instead of minutes."""
    whole = whole_uri(uri)
    # MLflow prints where to view a run, with the password, and in pictures that an ASCII terminal
    # cannot take: the run would not be ended
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # A server may ask for a pause of days
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    if not whole.startswith("http"):
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = 2  # of a database that cannot be opened; MLflow's 10 take minutes
    # A failing store is told in one line of ours
    for name in ("mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(whole)


def open_experiment(uri: str, name: str) -> tuple[Any, str]:
    """An MLflow client and the id of an experiment, created if need be.

    A new SQLite store is set up under a lock and under another name: MLflow's migrations crash when
    several processes start them at once, and leave a store that nobody can open when they are
    killed.
    """
    import mlflow  # noqa: F401 (takes seconds, for which the others need not wait)

    with _store_lock(uri) as folder:
        if folder is not None:
            _make_database(Path(uri.removeprefix(SQLITE)))
        client = open_store(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return client, experiment.experiment_id
        location = None if folder is None else (folder / "mlruns" / name).as_uri()
        # The page opens with the table of runs
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return client, client.create_experiment(name, artifact_location=location, tags=kind)


def _make_database(path: Path) -> None:
    """Let MLflow make its tables in a temporary file.

    That gets the name once they are complete.
    """
    if path.exists():
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / path.name
        open_store(f"{SQLITE}{draft}").search_experiments(max_results=1)
        with (
            replacing(path) as temporary,
            contextlib.closing(sqlite3.connect(draft)) as source,
            contextlib.closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)


@contextmanager
def _store_lock(uri: str) -> Iterator[Path | None]:
    """Alone with a SQLite store; yields its folder. Nothing to lock for a server.

    `TimeoutError` if another process keeps it too long: one that was halted, or lost by a network.
    """
    if not uri.startswith(SQLITE):
        yield None
        return
    database = Path(uri.removeprefix(SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _take(lock):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process has held {lock.name} for {LOCK_TIMEOUT_S:g} s")
            time.sleep(LOCK_POLL_S)
        yield database.parent


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def reason(error: Exception) -> str:
    """What a store's failure says of itself, on one line of bounded length."""
    first = (hide_password(str(error)).splitlines() or [""])[0]
    if CAUSE in first:  # of "Max retries exceeded with url: ... (Caused by ...)"
        first = first.rpartition(CAUSE)[2].removesuffix(")")
    return f"{type(error).__name__}: {first[:REASON_LENGTH]}"
