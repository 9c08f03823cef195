from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from settings import ROOT, make_config

from beit_exp import worker
from beit_exp.config.mapping import save_config
from beit_exp.errors import Interrupted, UserError
from beit_exp.hardware.process import LAUNCHER, worker_command, worker_environment
from beit_exp.tracking.mlflow_store import open_store
from beit_exp.tracking.records import Status
from beit_exp.tracking.tracker import RunTracker


@pytest.fixture
def run_dir(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory, in a process that was started as a worker is."""
    monkeypatch.setenv(LAUNCHER, str(os.getpid()))
    monkeypatch.setattr(worker, "set_up_logging", lambda *_, **__: None)  # pytest has its own
    cfg = make_config(f"tracking.uri={store}")
    save_config(cfg, tmp_path / "run" / "config.yaml")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("mend this"), 2, "mend this"),
        (
            OSError(28, "No space left on device"),
            2,
            "the disk is full ([Errno 28] No space left on device)",
        ),
        (
            RuntimeError("Allocate memory failed\n\n- C++ Call Stack:"),
            2,
            "not enough memory (Allocate memory failed); free some memory, or take a smaller",
        ),
        (
            OSError(24, "Too many open files"),
            2,
            "too many files are open ([Errno 24] Too many open files); let more be open at once",
        ),
        (
            ImportError("_c_expression.so: failed to map segment from shared object"),
            2,
            "not enough memory (_c_expression.so: failed to map",
        ),
        (PermissionError(13, "Permission denied"), 1, "Traceback"),
        (RuntimeError("our own"), 1, "RuntimeError: our own"),
        (Interrupted(15), 143, "to go on: python -m beit_exp.worker"),
    ],
)
def test_exit_status_and_message_say_what_happened(
    error: BaseException, status: int, message: str, run_dir: Path, monkeypatch, caplog
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "run_task", fail)
    assert worker.main([str(run_dir)]) == status
    assert message in caplog.text
    assert not (run_dir / "metrics.json").exists()


def test_a_signal_after_the_work_leaves_the_run_done_and_the_store_complete(
    run_dir: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = RunTracker.close

    def stop_while_closing(tracker: RunTracker, status: Status) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        close(tracker, status)

    monkeypatch.setattr(RunTracker, "close", stop_while_closing)
    monkeypatch.setattr(worker, "run_task", lambda *_: {"val/top1": 90.0})
    assert worker.main([str(run_dir)]) == 0
    run_id = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
    assert open_store(store).get_run(run_id).info.status == "FINISHED"
    assert json.loads((run_dir / "metrics.json").read_text()) == {"val/top1": 90.0}


def test_a_run_directory_that_goes_away_is_one_message(run_dir: Path, monkeypatch, caplog) -> None:
    def lose(*_: object) -> None:
        run_dir.rename(run_dir.with_name("elsewhere"))
        (run_dir / "plots" / "schedule.png").read_bytes()

    monkeypatch.setattr(worker, "run_task", lose)
    assert worker.main([str(run_dir)]) == 2
    assert f"{run_dir} was moved or deleted while its run was at work" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_directory_without_a_run_is_named(tmp_path: Path, capsys) -> None:
    assert worker.main([str(tmp_path)]) == 2
    assert f"{tmp_path}/config.yaml cannot be read as a configuration" in capsys.readouterr().err


def test_one_started_by_hand_on_several_nodes_meets_the_others(
    run_dir: Path, monkeypatch, capsys
) -> None:
    monkeypatch.delenv(LAUNCHER)
    monkeypatch.setattr(worker, "resume", lambda place: 7 if place == run_dir else 0)
    for name, value in {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert worker.main([str(run_dir)]) == 7
    monkeypatch.setenv("NODE_RANK", "two")
    assert worker.main([str(run_dir)]) == 2
    assert "NODE_RANK = 'two': must be a whole number" in capsys.readouterr().err


def test_usage_is_shown_without_a_run_directory(capsys) -> None:
    assert worker.main([]) == 2
    assert "usage: python -m beit_exp.worker RUN_DIR" in capsys.readouterr().err


def test_a_crash_in_the_clean_up_of_libraries_does_not_fail_a_run_that_is_done() -> None:
    code = """
import atexit, ctypes, sys
from beit_exp import worker
atexit.register(print, "left the cluster")
ctypes.CDLL(None).__cxa_atexit(ctypes.c_void_p(1), None, None)  # to be called by C's exit
{end}
"""
    crash, done = (
        subprocess.run(
            [sys.executable, "-c", code.format(end=end)],
            capture_output=True,
            text=True,
            check=False,
        )
        for end in ("sys.exit(0)", "worker.leave(0)")
    )
    assert crash.returncode < 0
    assert (done.returncode, done.stdout) == (0, "left the cluster\n"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_clean_up_of_libraries_does_not_fail_a_run_that_is_done(
    number: int,
) -> None:
    code = f"""
import atexit, os
from beit_exp import worker
atexit.register(lambda: os.kill(os.getpid(), {int(number)}))
worker.leave(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_whose_store_lacks_its_password_says_what_to_set(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "run_task", lambda *_: pytest.fail("the task was begun"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    cfg = make_config("tracking.uri='postgresql://me:***@host/db'")
    save_config(cfg, run_dir / "config.yaml")
    assert worker.main([str(run_dir)]) == 2
    assert "set the environment variable MLFLOW_TRACKING_URI to the same address" in caplog.text


def test_an_error_of_another_name_is_known_where_no_file_can_be_opened() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    error = OSError("Mindspore can not compile temporary source code in terminal")
    assert not worker.are_files_refused(error)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        is_known = worker.are_files_refused(error)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert is_known


def test_a_scheduler_says_in_one_line_whom_it_has_lost(monkeypatch, capsys) -> None:
    def lose() -> None:
        raise UserError("the processes of this run did not find each other: node 1 is timed out")

    monkeypatch.setattr(worker.cluster, "join", lose)
    assert worker.schedule() == 2
    assert capsys.readouterr().err.splitlines() == [
        "the processes of this run did not find each other: node 1 is timed out"
    ]


@pytest.mark.parametrize("rank", [None, "0"])
def test_a_worker_whose_launcher_is_gone_ends_before_it_begins(
    rank: str | None, tmp_path: Path
) -> None:
    save_config(make_config(f"dataset.data_url={tmp_path / 'digits'}"), tmp_path / "config.yaml")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    environment = {**worker_environment(), LAUNCHER: str(gone.pid)}
    environment |= {} if rank is None else {"BEIT_EXP_RANK": rank}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "beit_exp.worker", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM), ended.stderr
    assert time.monotonic() - began < 30 and not (tmp_path / "checkpoints").exists()


def test_a_run_of_several_nodes_is_not_resumed_on_one(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    save_config(make_config("hardware.node_num=2"), run_dir / "config.yaml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop(LAUNCHER, None)
    done = subprocess.run(
        worker_command(run_dir),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("hardware.node_num = 2: must be 1"), done.stderr
