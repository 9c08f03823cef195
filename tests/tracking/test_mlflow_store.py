from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beit_exp.errors import UserError
from beit_exp.tracking import mlflow_store
from beit_exp.tracking.mlflow_store import (
    open_experiment,
    open_store,
    reason,
    resolve_uri,
    whole_uri,
)


def test_a_fresh_sqlite_store_is_set_up_once_by_many_threads(tmp_path: Path) -> None:
    uri, found = f"sqlite:///{tmp_path / 'mlflow.db'}", []
    threads = [
        threading.Thread(target=lambda: found.append(open_experiment(uri, "many")[1]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1


def test_a_set_up_that_is_cut_short_leaves_no_store_behind(tmp_path: Path, monkeypatch) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    make = mlflow_store.open_store

    def killed(draft: str):
        Path(draft.removeprefix("sqlite:///")).write_bytes(b"half of its tables")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_store, "open_store", killed)
    with pytest.raises(KeyboardInterrupt):
        open_experiment(uri, "beit")
    assert [path.name for path in tmp_path.iterdir()] == [".mlflow.db.lock"]
    monkeypatch.setattr(mlflow_store, "open_store", make)
    assert open_experiment(uri, "beit")[1]


def test_store_is_the_configured_one_then_the_environments_then_local(
    monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert resolve_uri(None) == "http://server:5000"
    assert resolve_uri("sqlite:////x.db") == "sqlite:////x.db"


def test_a_relative_store_is_made_and_told_by_its_whole_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = resolve_uri("sqlite:///own.db")
    assert uri == f"sqlite:///{tmp_path}/own.db"
    _, experiment_id = open_experiment(uri, "beit")
    assert experiment_id and (tmp_path / "own.db").exists()


def test_a_password_of_the_environment_is_used_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = "postgresql://me:pa55@host/db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", whole)
    kept = resolve_uri(None)
    assert kept == "postgresql://me:***@host/db"
    assert whole_uri(resolve_uri(kept)) == whole
    assert whole_uri("http://host:5000") == "http://host:5000"


def wrong_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute("update alembic_version set version_num = '451aebb31d03'")
        store.commit()


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50000])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (wrong_version, "out-of-date database schema (found version 451aebb31d03"),
        (wrong_version, "run 'mlflow db upgrade <database_uri>'"),
        (no_database, "file is not a database"),
        (half, "database disk image is malformed"),
        (folder, "unable to open database file"),
    ],
)
def test_a_store_that_cannot_be_used_is_left_as_it_is_and_says_why_at_once(
    spoil: Callable[[Path], None], told: str, store: str, tmp_path: Path
) -> None:
    path, begun = tmp_path / "mlflow.db", time.monotonic()
    spoil(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(Exception, match=".") as caught:
        open_experiment(store, "beit")
    assert told in reason(caught.value)
    assert time.monotonic() - begun < 10
    assert before is None or path.read_bytes() == before


def test_a_locked_store_fails_in_bounded_time(store: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_store, "LOCK_TIMEOUT_S", 0.1)
    with (tmp_path / ".mlflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match=r"held .*\.mlflow\.db\.lock for 0\.1 s"):
            open_experiment(store, "beit")
    assert open_experiment(store, "beit")[1]


@pytest.mark.parametrize("given", ["", "postgresql://me:pa55@other/db", "sqlite:///mlflow.db"])
def test_a_password_that_the_environment_lacks_is_asked_for(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(UserError) as caught:
        open_store("postgresql://me:***@host/db")
    assert "tracking.uri = 'postgresql://me:***@host/db': its password" in str(caught.value)
    assert "set the environment variable MLFLOW_TRACKING_URI" in str(caught.value)
    assert "pa55" not in str(caught.value)


def test_the_reason_of_a_failure_tells_no_password(
    silent_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_store.replace("//", "//me:pa55@"))
    with pytest.raises(Exception, match="pa55") as caught:
        open_store(resolve_uri(None)).search_experiments()
    assert "pa5" not in reason(caught.value) and "Connection refused" in reason(caught.value)
    told = reason(ValueError(str(caught.value).partition(" failed with")[0]))
    assert "pa5" not in told and "me:***@127.0.0.1" in told
