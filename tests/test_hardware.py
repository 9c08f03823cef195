from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, make_config

from beit_exp.hardware import cluster
from beit_exp.hardware.device import Runtime
from beit_exp.hardware.process import (
    forwarding_signals,
    shell_status,
    start,
    worker_command,
    worker_environment,
)


def hardware_of(*overrides: str):
    return make_config("hardware=ascend", *overrides).hardware


def test_worker_runs_with_this_interpreter_and_finds_the_package_from_anywhere(monkeypatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert worker_command(Path("run")) == [sys.executable, "-m", "beit_exp.worker", "run"]
    environment = worker_environment()
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 15)", 143),
    ],
)
def test_an_end_by_a_signal_is_told_as_a_shell_tells_it(code: str, status: int) -> None:
    process = start([sys.executable, "-c", code], os.environ)
    assert shell_status(process.wait()) == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_worker_and_not_the_others(number: int) -> None:
    before = signal.getsignal(number)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with forwarding_signals() as workers:
        workers += [start(sleep, os.environ), start(sleep, os.environ)]
        other = start(sleep, os.environ)
        os.kill(os.getpid(), number)
        assert [worker.wait(30) for worker in workers] == [-signal.SIGTERM] * 2
        assert other.poll() is None
        other.kill()
        other.wait()
    assert signal.getsignal(number) == before


def test_one_server_of_eight_cards_is_a_scheduler_and_eight_workers(monkeypatch) -> None:
    monkeypatch.delenv("RANK_TABLE_FILE", raising=False)
    found = cluster.environments(hardware_of("hardware=ascend_8p"), port=9000)
    assert list(found) == ["scheduler", *map(str, range(8))]
    assert found["scheduler"]["MS_ROLE"] == "MS_SCHED"
    assert {environment["MS_WORKER_NUM"] for environment in found.values()} == {"8"}
    assert [found[str(rank)]["MS_NODE_ID"] for rank in range(8)] == [str(rank) for rank in range(8)]


def test_the_second_of_two_servers_goes_on_counting_and_meets_the_first(monkeypatch) -> None:
    monkeypatch.delenv("RANK_TABLE_FILE", raising=False)
    cfg = hardware_of(
        "hardware=ascend_8p",
        "hardware.node_num=2",
        "hardware.node_rank=1",
        "hardware.master_addr=10.0.0.1",
        "hardware.master_port=8118",
    )
    found = cluster.environments(cfg, port=8118)
    assert list(found) == [str(rank) for rank in range(8, 16)]
    assert found["8"]["MS_SCHED_HOST"] == "10.0.0.1" and found["8"]["MS_SCHED_PORT"] == "8118"
    assert {environment["MS_WORKER_NUM"] for environment in found.values()} == {"16"}


def test_a_rank_table_in_the_environment_is_used_on_ascend(monkeypatch) -> None:
    monkeypatch.setenv("RANK_TABLE_FILE", "/etc/hccl.json")
    found = cluster.environments(hardware_of("hardware.device_num=2"), port=9000)
    assert found == {
        "0": {"BEIT_EXP_RANK": "0", "RANK_ID": "0", "RANK_SIZE": "2", "DEVICE_ID": "0"},
        "1": {"BEIT_EXP_RANK": "1", "RANK_ID": "1", "RANK_SIZE": "2", "DEVICE_ID": "1"},
    }


def test_a_process_alone_gathers_what_it_has() -> None:
    runtime = Runtime("CPU", half=None, rank=0, size=1)
    assert runtime.is_leader
    assert runtime.gather(np.array([1, 2])).tolist() == [[1.0, 2.0]]
