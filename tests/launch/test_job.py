"""A job's way from settings to an outcome, with a plain function in the place of the worker."""

from __future__ import annotations

import errno
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from settings import compose, make_config

from beit_exp.config.schema import Config
from beit_exp.hardware.meeting import Started
from beit_exp.launch import job
from beit_exp.launch.job import Outcome, do_job
from beit_exp.storage.lock import locking


class Worker:
    """Ends with a status; if that is 0, leaves the metrics of a run."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.calls = status, 0

    def __call__(self, cfg: Config, run_dir: Path, _: Started) -> int:
        self.calls += 1
        assert (run_dir / "config.yaml").exists()
        if self.status == 0:
            (run_dir / "metrics.json").write_text('{"val/top1": 50.0, "val/loss": 1.5}')
        return self.status


def do(run_dir: Path, worker: Worker, *overrides: str, repeats: bool = False) -> Outcome:
    run_dir.mkdir(exist_ok=True)  # Hydra does
    return do_job(lambda: compose(*overrides), run_dir, work=worker, repeats=repeats)


@pytest.mark.parametrize(("objective", "value"), [("val/top1", 50.0), ("val/loss", 1.5)])
def test_a_job_that_is_done_has_its_objective(tmp_path: Path, objective: str, value: float) -> None:
    assert do(tmp_path / "run", Worker(), f"objective={objective}") == Outcome(0, value)


@pytest.mark.parametrize("wrong", ["train.epochs=0", "model.pretrained=no.pth"])
def test_wrong_settings_are_shown_and_leave_nothing(tmp_path: Path, wrong: str, capsys) -> None:
    worker = Worker()
    outcome = do(tmp_path / "run", worker, wrong)
    assert (outcome.exit_status, worker.calls) == (2, 0)
    assert wrong.partition("=")[0] in outcome.message
    assert capsys.readouterr().err == f"{outcome.message}\n"
    assert list(tmp_path.iterdir()) == []


def test_settings_of_another_run_leave_that_as_it_is(tmp_path: Path) -> None:
    do(tmp_path / "run", Worker())
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert "seed: 42 there, 7 here" in do(tmp_path / "run", Worker(), "seed=7").message
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("repeats", [False, True])
def test_a_run_that_is_done_is_gone_over_only_where_that_is_asked(
    tmp_path: Path, repeats: bool
) -> None:
    do(tmp_path / "run", Worker())
    worker = Worker()
    outcome = do(tmp_path / "run", worker, repeats=repeats)
    assert outcome == Outcome(0, 50.0, was_done=not repeats)
    assert worker.calls == int(repeats)


@pytest.mark.parametrize("content", [b"", b"\xffjunk{", b"[1]"])
def test_a_job_whose_result_is_damaged_is_done_again(
    tmp_path: Path, content: bytes, capsys
) -> None:
    do(tmp_path / "run", Worker())
    (tmp_path / "run" / "metrics.json").write_bytes(content)
    assert do(tmp_path / "run", Worker()) == Outcome(0, 50.0)
    assert "metrics.json is damaged; the run is gone over again" in capsys.readouterr().out


@pytest.mark.parametrize(("objective", "worst"), [("val/top1", 0.0), ("val/loss", 1e6)])
def test_a_failed_worker_leaves_its_last_error_until_another_does_the_job(
    tmp_path: Path, objective: str, worst: float
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "launch.log").write_text("12:00 ERROR beit_exp.worker: training has diverged\n")
    assert do(run_dir, Worker(3), f"objective={objective}") == Outcome(3, worst)
    failure = {"exit_status": 3, "message": "training has diverged"}
    assert json.loads((run_dir / "failed.json").read_text()) == failure
    assert do(run_dir, Worker(), f"objective={objective}").exit_status == 0
    assert not (run_dir / "failed.json").exists()


@pytest.mark.parametrize("status", [130, 143])
def test_a_stopped_worker_has_not_failed(tmp_path: Path, status: int) -> None:
    assert do(tmp_path / "run", Worker(status)).exit_status == status
    assert not (tmp_path / "run" / "failed.json").exists()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "50.0"])
@pytest.mark.parametrize(("objective", "worst"), [("val/top1", 0.0), ("val/loss", 1e6)])
def test_a_search_is_given_a_finite_number(
    tmp_path: Path, value: str, objective: str, worst: float
) -> None:
    (tmp_path / "metrics.json").write_text(f'{{"{objective}": {value}}}')
    found = job.objective(make_config(f"objective={objective}"), tmp_path)
    assert found == (50.0 if value == "50.0" else worst)


def test_a_second_command_leaves_a_run_at_work_alone(tmp_path: Path, capsys) -> None:
    run_dir = tmp_path / "run"
    do(run_dir, Worker(status=130))
    worker = Worker()
    with locking(run_dir / "launch.log"):
        before = sorted(run_dir.iterdir())
        assert do(run_dir, worker).exit_status == 2
        assert sorted(run_dir.iterdir()) == before
    assert worker.calls == 0
    assert "another process is at work" in capsys.readouterr().err


def test_a_worker_refused_by_another_marks_nothing(tmp_path: Path) -> None:
    """Both commands were typed at once: the first worker has the lock by the second's end."""
    run_dir = tmp_path / "run"
    with ExitStack() as stack:

        def refused(cfg: Config, run_dir: Path, _: Started) -> int:
            stack.enter_context(locking(run_dir / "launch.log"))
            return 2

        run_dir.mkdir()
        assert do_job(compose, run_dir, work=refused, repeats=False).exit_status == 2
        assert not (run_dir / job.FAILED_FILE).exists()


def test_a_full_disk_does_not_hide_how_a_worker_ended(tmp_path: Path, monkeypatch, capsys) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job, "mark_failed", full)
    assert do(tmp_path / "run", Worker(status=2)).exit_status == 2
    assert capsys.readouterr().err.endswith("cannot be written: No space left on device\n")
    monkeypatch.setattr(job, "prepare", full)
    assert do(tmp_path / "other", Worker()).exit_status == 2
    assert "other cannot be written: No space left on device. Mend that" in capsys.readouterr().err


def test_a_directory_that_is_gone_is_not_made_anew_to_hold_a_failure(tmp_path: Path) -> None:
    def moves(cfg: Config, run_dir: Path, _: Started) -> int:
        run_dir.rename(tmp_path / "moved")
        return 2

    run_dir = tmp_path / "run"
    assert do_job(compose, run_dir, work=moves, repeats=False).exit_status == 2
    assert not run_dir.exists()
