from __future__ import annotations

import platform
import threading
import time

import pytest

from beit_exp.errors import Interrupted
from beit_exp.tracking import mlflow_run, mlflow_sink, mlflow_write
from beit_exp.tracking.mlflow_sink import sync
from beit_exp.tracking.records import read_records
from beit_exp.tracking.tracker import open_tracker


def test_a_store_that_cannot_be_reached_costs_nothing_but_a_warning(
    run, silent_store: str, caplog
) -> None:
    cfg, run_dir = run
    tracking_cfg = cfg.tracking.model_copy(update={"uri": silent_store})
    with open_tracker(cfg.model_copy(update={"tracking": tracking_cfg}), run_dir) as tracker:
        tracker.log({"train/loss": 1.0}, step=1, epoch=0)
    assert read_records(run_dir / "metrics.jsonl")[0]["train/loss"] == 1.0
    assert "metrics.jsonl has it all" in caplog.text


@pytest.fixture
def flaky(monkeypatch):
    """A store that fails as often as `failures` says, by the kind of request, and is tried again at
    once.
    """
    failures = {"open": 0, "send": 0, "upload": 0}
    monkeypatch.setattr(mlflow_sink, "RETRY_S", (0.01, 0.02))
    monkeypatch.setattr(mlflow_sink, "SEND_EVERY_S", 0.01)

    def failing(kind: str, function):
        def call(*arguments):
            if failures[kind] > 0:
                failures[kind] -= 1
                raise ConnectionError(f"no {kind} now")
            return function(*arguments)

        return call

    monkeypatch.setattr(mlflow_run, "open_run", failing("open", mlflow_run.open_run))
    monkeypatch.setattr(mlflow_write, "send", failing("send", mlflow_write.send))
    monkeypatch.setattr(mlflow_write, "send_facts", failing("upload", mlflow_write.send_facts))
    return failures


def wait_until(condition, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["open", "send", "upload"])
def test_a_store_that_comes_back_is_sent_what_it_missed_and_the_run_says_so(
    run, flaky, kind: str, caplog
) -> None:
    cfg, run_dir = run
    flaky[kind] = 3
    caplog.set_level("INFO")
    with open_tracker(cfg, run_dir) as tracker:
        for step in range(1, 6):
            tracker.log({"train/loss": 1.0 / step}, step=step, epoch=0)
        wait_until(
            lambda: (
                flaky[kind] == 0 and f"the tracking store {cfg.tracking.uri} is back" in caplog.text
            )
        )
    assert caplog.text.count(f"failed (ConnectionError: no {kind} now)") <= 3
    client, stored = run.stored()
    assert [
        metric.step for metric in client.get_metric_history(stored.info.run_id, "train/loss")
    ] == [1, 2, 3, 4, 5]
    assert (stored.info.status, stored.data.tags["python"]) == (
        "FINISHED",
        platform.python_version(),
    )


@pytest.mark.slow
def test_a_store_that_does_not_answer_keeps_nobody_waiting_and_holds_no_records_in_memory(
    run, monkeypatch, caplog
) -> None:
    cfg, run_dir = run
    answers, open_run = threading.Event(), mlflow_run.open_run
    monkeypatch.setattr(mlflow_run, "open_run", lambda *args: answers.wait(60) and open_run(*args))
    monkeypatch.setattr(mlflow_sink, "CLOSE_TIMEOUT_S", 0.1)
    with open_tracker(cfg, run_dir) as tracker:
        for step in range(5000):
            tracker.log({"train/loss": 1.0}, step=step, epoch=0)
        assert len(tracker.sink.uploads) == 2  # config.yaml and the environment's tags
    assert "did not answer in time; metrics.jsonl has it all" in caplog.text
    answers.set()
    tracker.sink.thread.join(60)
    client, stored = run.stored()
    assert len(client.get_metric_history(stored.info.run_id, "train/loss")) == 5000


def test_a_run_that_a_signal_stops_waits_less_for_its_store(run, monkeypatch, caplog) -> None:
    cfg, run_dir = run
    answers, open_run = threading.Event(), mlflow_run.open_run
    monkeypatch.setattr(mlflow_run, "open_run", lambda *args: answers.wait(60) and open_run(*args))
    monkeypatch.setattr(mlflow_sink, "STOP_TIMEOUT_S", 0.1)
    with pytest.raises(Interrupted), open_tracker(cfg, run_dir) as tracker:
        raise Interrupted(15)
    assert "did not answer in time" in caplog.text
    answers.set()
    tracker.sink.thread.join(60)
    assert run.stored()[1].info.status == "KILLED"


def test_what_a_store_missed_is_sent_once(run, silent_store: str) -> None:
    cfg, run_dir = run
    gone = cfg.model_copy(
        update={"tracking": cfg.tracking.model_copy(update={"uri": silent_store})}
    )
    with open_tracker(gone, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/loss": 1.0 / step, "optim/lr": 0.1}, step=step, epoch=0)
    (run_dir / "metrics.json").write_text("{}")
    assert [sync(cfg, run_dir), sync(cfg, run_dir)] == [9, 0]  # loss, rate and epoch of three steps
    client, stored = run.stored()
    assert stored.info.status == "FINISHED"
    assert [
        metric.value for metric in client.get_metric_history(stored.info.run_id, "train/loss")
    ] == [1, 0.5, 1 / 3]
