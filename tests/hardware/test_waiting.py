from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from settings import ROOT, make_config
from whole_runs import is_alive

from beit_exp.config.mapping import save_config
from beit_exp.hardware import waiting
from beit_exp.hardware.waiting import (
    WaitingWorker,
    begin,
    dismissing_waiting,
    have_one_wait,
    is_possible,
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """One whose run is refused at once, by its settings."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    return tmp_path / "run"


def test_a_waiting_worker_does_the_run_that_it_is_given(run_dir: Path, capfd) -> None:
    with dismissing_waiting():
        have_one_wait(make_config())
        waited = waiting._waiting[0].process
        worker = begin(run_dir)
        assert worker is waited and worker.wait(60) == 2
    assert f"{run_dir}/config.yaml was written by another version" in capfd.readouterr().err


def test_a_worker_that_died_waiting_is_replaced(run_dir: Path, capfd) -> None:
    with dismissing_waiting():
        have_one_wait(make_config())
        waited = waiting._waiting[0].process
        waited.kill()
        waited.wait()
        worker = begin(run_dir)
        assert worker is not waited and worker.wait(60) == 2


@pytest.mark.parametrize("changed", ["a variable", "the folder"])
def test_a_worker_that_waits_in_other_surroundings_is_replaced(
    changed: str, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dismissing_waiting():
        have_one_wait(make_config())
        waited = waiting._waiting[0].process
        if changed == "a variable":  # as hydra.job.env_set does
            monkeypatch.setenv("OMP_NUM_THREADS", "1")
        else:
            monkeypatch.chdir(tmp_path)
        worker = begin(run_dir)
        assert waited.returncode == -signal.SIGKILL
        assert worker is not waited and worker.wait(60) == 2


def test_a_worker_that_gets_no_run_is_ended(run_dir: Path) -> None:
    with dismissing_waiting():
        have_one_wait(make_config())
        waited = waiting._waiting[0].process
    assert waited.returncode == -signal.SIGKILL and not waiting._waiting
    assert [path.name for path in run_dir.iterdir()] == ["config.yaml"]


def test_one_worker_waits_at_the_most() -> None:
    with dismissing_waiting():
        have_one_wait(make_config())
        first = waiting._waiting[0].process
        have_one_wait(make_config())
        assert [each.process for each in waiting._waiting] == [first]


def test_a_worker_whose_command_is_gone_ends_without_a_word(tmp_path: Path) -> None:
    code = (
        "import os, signal; from beit_exp.hardware.waiting import WaitingWorker\n"
        "print(WaitingWorker('finetune').process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    pid, deadline = int(command.stdout), time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(pid) and command.stderr == ""


def test_a_signal_to_a_worker_that_waits_ends_its_run_before_it_begins(
    tmp_path: Path, store: str
) -> None:
    save_config(make_config(f"tracking.uri={store}"), tmp_path / "run" / "config.yaml")
    waited = WaitingWorker("finetune")
    waited.process.send_signal(signal.SIGTERM)
    waited.send(tmp_path / "run")
    assert waited.process.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("seed=1", True),
        ("hardware.device_num=2", False),  # its worker starts others, which work
        ("experiment=pretrain_digits", False),
    ],
)
def test_what_works_in_another_process_is_not_loaded_ahead(setting: str, expected: bool) -> None:
    assert is_possible(make_config(setting)) == expected
