from __future__ import annotations

import json
import platform
import threading
import time
from pathlib import Path

import pytest
from conftest import make_config

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import setting_names
from beit_exp.errors import Interrupted
from beit_exp.hardware.environment import cann_version, environment_tags
from beit_exp.storage.files import replacing, write_atomically
from beit_exp.tracking import mlflow_sink, mlflow_store, mlflow_write
from beit_exp.tracking.mlflow_sink import sync
from beit_exp.tracking.mlflow_store import open_experiment, resolve_uri
from beit_exp.tracking.records import keep_records, read_records
from beit_exp.tracking.tracker import open_tracker


@pytest.fixture
def run(tmp_path: Path):
    """A configuration and a run directory that log to a SQLite store."""
    cfg = make_config(
        f"tracking.uri=sqlite:///{tmp_path / 'store' / 'mlflow.db'}", "tracking.run_name=test"
    )
    run_dir = tmp_path / "run"
    save_config(cfg, run_dir / "config.yaml")
    return cfg, run_dir


def stored_run(cfg, run_dir: Path):
    client, _ = open_experiment(cfg.tracking.uri, cfg.tracking.experiment)
    return client, client.get_run(json.loads((run_dir / "mlflow.json").read_text())["run_id"])


def test_a_run_holds_every_setting_every_metric_and_the_configuration(run) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log(
                {"train/loss": 1 / step, "optim/lr": step * 1e-5}, step=step, epoch=step / 3
            )
    client, stored = stored_run(cfg, run_dir)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["optimizer.base_lr"] == "0.002"
    assert stored.data.params.keys() == set(setting_names()) - {
        "tracking.run_name",
        "tracking.tags",
    }
    history = client.get_metric_history(stored.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert [artifact.path for artifact in client.list_artifacts(stored.info.run_id)] == [
        "config.yaml"
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (RuntimeError("x"), "FAILED"),
        (Interrupted(15), "KILLED"),
        (SystemExit(0), "FAILED"),
    ],
)
def test_status_is_true_to_what_happened(run, error, status: str) -> None:
    cfg, run_dir = run

    def work() -> None:
        with open_tracker(cfg, run_dir):
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            work()
    else:
        work()
    assert stored_run(cfg, run_dir)[1].info.status == status


def test_a_resumed_run_goes_on_in_the_same_mlflow_run_without_duplicates(run) -> None:
    cfg, run_dir = run
    with pytest.raises(Interrupted), open_tracker(cfg, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/loss": float(step)}, step=step, epoch=0)
        raise Interrupted(15)
    first = stored_run(cfg, run_dir)[1].info.run_id
    with open_tracker(cfg, run_dir) as tracker:
        tracker.rewind(2)
        for step in (3, 4):
            tracker.log({"train/loss": float(step)}, step=step, epoch=0)
            if step == 3:
                tracker.log({"val/top1": 50.0}, step=step, epoch=0)
    client, stored = stored_run(cfg, run_dir)
    assert (stored.info.run_id, stored.info.status) == (first, "FINISHED")
    assert [metric.step for metric in client.get_metric_history(first, "train/loss")] == [
        1,
        2,
        3,
        4,
    ]
    # Not sent before the stop
    assert [metric.step for metric in client.get_metric_history(first, "val/top1")] == [3]
    assert [record["step"] for record in read_records(run_dir / "metrics.jsonl")] == [1, 2, 3, 3, 4]


def test_a_process_that_is_not_the_first_leaves_nothing(run) -> None:
    cfg, run_dir = run
    before = sorted(run_dir.rglob("*"))
    with pytest.raises(Interrupted), open_tracker(cfg, run_dir, is_leader=False) as tracker:
        tracker.log_facts(tags={"device": "x"})
        tracker.log({"train/loss": 1.0}, step=1, epoch=0)
        tracker.log_file(run_dir / "config.yaml")
        tracker.upload(lambda *_: pytest.fail("sent to the store"))
        tracker.rewind(0)
        assert tracker.records == 0
        raise Interrupted(15)
    assert sorted(run_dir.rglob("*")) == before
    assert not (run_dir.parent / "store").exists()


def test_a_store_that_cannot_be_reached_costs_nothing_but_a_warning(run, caplog) -> None:
    cfg, run_dir = run
    tracking_cfg = cfg.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})
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

    monkeypatch.setattr(mlflow_write, "open_run", failing("open", mlflow_write.open_run))
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
    client, stored = stored_run(cfg, run_dir)
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
    answers, open_run = threading.Event(), mlflow_write.open_run
    monkeypatch.setattr(
        mlflow_write, "open_run", lambda *args: answers.wait(60) and open_run(*args)
    )
    monkeypatch.setattr(mlflow_sink, "CLOSE_TIMEOUT_S", 0.1)
    with open_tracker(cfg, run_dir) as tracker:
        for step in range(5000):
            tracker.log({"train/loss": 1.0}, step=step, epoch=0)
        assert len(tracker.sink.uploads) == 1  # the environment's tags
    assert "did not answer in time; metrics.jsonl has it all" in caplog.text
    answers.set()
    tracker.sink.thread.join(60)
    client, stored = stored_run(cfg, run_dir)
    assert len(client.get_metric_history(stored.info.run_id, "train/loss")) == 5000


def test_what_a_store_missed_is_sent_once(run) -> None:
    cfg, run_dir = run
    gone = cfg.model_copy(
        update={"tracking": cfg.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})}
    )
    with open_tracker(gone, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/loss": 1.0 / step, "optim/lr": 0.1}, step=step, epoch=0)
    (run_dir / "metrics.json").write_text("{}")
    assert [sync(cfg, run_dir), sync(cfg, run_dir)] == [9, 0]  # loss, rate and epoch of three steps
    client, stored = stored_run(cfg, run_dir)
    assert stored.info.status == "FINISHED"
    assert [
        metric.value for metric in client.get_metric_history(stored.info.run_id, "train/loss")
    ] == [1, 0.5, 1 / 3]


def test_a_run_is_tagged_with_code_and_versions(run) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir):
        pass
    tags = stored_run(cfg, run_dir)[1].data.tags
    assert tags["numpy"].startswith("1.26") and tags["mindspore"].startswith("2.10")
    assert len(tags.get("git.commit", "0" * 40)) == 40
    assert {"host", "python"} <= tags.keys()


def test_the_version_of_cann_is_that_of_the_toolkit_in_use(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert cann_version() is None
    (tmp_path / "x86_64-linux").mkdir()
    (tmp_path / "x86_64-linux" / "ascend_toolkit_install.info").write_text(
        "package_name=a\nversion=8.0.RC3\n"
    )
    assert environment_tags()["cann"] == "8.0.RC3"


def test_a_record_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    keep_records(path, 1)
    assert path.read_text() == '{"step": 1}\n'


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
        make(draft).search_experiments(max_results=1)
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


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half of the ne")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
