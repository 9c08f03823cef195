"""How the processes of a run end, with a few lines of Python for a worker."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from settings import make_config

from beit_exp.hardware import cluster
from beit_exp.hardware.ending import LINE, tell

RANK = """
import atexit, os, signal, sys, time
from pathlib import Path
from beit_exp import worker
folder, rank = Path(sys.argv[1]), os.environ.get("BEIT_EXP_RANK")
if rank == "scheduler":
    time.sleep(60)
{body}
"""
LATE = """
if rank == "0":
    time.sleep(1)
    (folder / "done").touch()
atexit.register(lambda: (folder / f"left{rank}").write_text(str((folder / "done").exists())))
worker.leave(0)
"""


def run_two(folder: Path, body: str) -> int:
    script = folder / "rank.py"
    script.write_text(RANK.format(body=body))
    hardware = make_config("hardware=cpu", "hardware.device_num=2").hardware
    return cluster.run(hardware, [sys.executable, str(script), str(folder)])


@pytest.mark.parametrize("status", [0, 143])
def test_a_crash_in_the_clean_up_changes_no_status(status: int, tmp_path: Path, capfd) -> None:
    body = f"atexit.register(os.kill, os.getpid(), signal.SIGSEGV); worker.leave({status})"
    assert run_two(tmp_path, body) == status
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_no_rank_leaves_while_another_works(tmp_path: Path) -> None:
    assert run_two(tmp_path, LATE) == 0
    assert [(tmp_path / f"left{rank}").read_text() for rank in (0, 1)] == ["True", "True"]


@pytest.mark.slow
def test_a_clean_up_that_does_not_end_is_ended(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "LEAVING_S", 0.5)
    assert run_two(tmp_path, "atexit.register(time.sleep, 60); worker.leave(0)") == 0


def test_a_crash_at_work_is_one(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(cluster, "GRACE_S", 0.5)
    body = "worker.leave(0) if rank == '0' else os.kill(os.getpid(), signal.SIGSEGV)"
    assert run_two(tmp_path, body) == 128 + signal.SIGSEGV
    assert "rank 1 of 2 was killed by signal 11" in capfd.readouterr().err


def test_what_a_rank_could_not_do_is_the_status_of_all(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "GRACE_S", 0.5)
    assert run_two(tmp_path, "worker.leave(2 if rank == '1' else 0)") == 2


def test_there_is_nobody_to_tell_where_the_process_that_started_this_one_is_gone(
    monkeypatch,
) -> None:
    line, its_end = socket.socketpair()
    line.close()
    monkeypatch.setenv(LINE, str(its_end.detach()))
    tell(0)
    line, its_end = socket.socketpair()
    monkeypatch.setenv(LINE, str(its_end.detach()))
    threading.Timer(0.2, line.close).start()  # it has not read what it was told
    tell(0)
