from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from beit_exp.config.schema import setting_names
from beit_exp.errors import Interrupted, UserError
from beit_exp.tracking import tracker as tracking
from beit_exp.tracking.records import read_records
from beit_exp.tracking.run_name import OVERRIDES, OVERRIDES_TAG
from beit_exp.tracking.tracker import open_tracker


def test_a_run_holds_what_its_task_reads_every_metric_and_the_configuration(run) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log(
                {"train/loss": 1 / step, "optim/lr": step * 1e-5}, step=step, epoch=step / 3
            )
    client, stored = run.stored()
    assert stored.info.status == "FINISHED"
    assert stored.data.params["optimizer.base_lr"] == "0.002"
    groups = {key.partition(".")[0] for key in stored.data.params}
    expected = {"task", "seed", "objective", "checkpoint_kind", "model", "dataset", "augment"}
    assert groups == expected | {"optimizer", "scheduler", "hardware", "train"}
    group = {key for key in setting_names() if key.startswith("optimizer.")}
    assert group <= stored.data.params.keys()
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
    assert run.stored()[1].info.status == status


def test_a_run_that_is_done_stays_so_when_it_cannot_be_gone_over_again(run) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir) as tracker:
        tracker.log({"val/top1": 50.0}, step=1, epoch=1)
        (run_dir / "metrics.json").write_text("{}")
    with pytest.raises(RuntimeError), open_tracker(cfg, run_dir):
        raise RuntimeError("the data are not there")
    assert run.stored()[1].info.status == "FINISHED"
    with pytest.raises(RuntimeError), open_tracker(cfg, run_dir) as tracker:
        tracker.log({"val/top1": 40.0}, step=2, epoch=2)
        raise RuntimeError("in the middle of more epochs")
    assert run.stored()[1].info.status == "FAILED"


@pytest.mark.parametrize("place", ["moved", "deleted", "replaced by a file", "made anew"])
def test_a_run_whose_directory_is_gone_says_so_and_makes_no_other(run, place: str) -> None:
    cfg, run_dir = run
    with (
        pytest.raises(UserError, match="was moved or deleted while its run was at work"),
        open_tracker(cfg, run_dir) as tracker,
    ):
        tracker.log({"train/loss": 1.0}, step=1, epoch=1)
        run_dir.rename(run_dir.with_name("elsewhere"))
        if place == "deleted":
            shutil.rmtree(run_dir.with_name("elsewhere"))
        elif place == "replaced by a file":
            run_dir.touch()
        elif place == "made anew":
            run_dir.mkdir()
            (run_dir / "metrics.jsonl").touch()
        tracker.sync()
    assert not run_dir.exists() or place in ("replaced by a file", "made anew")


def test_a_record_that_a_checkpoint_counts_and_that_is_gone_is_told(run, caplog) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/loss": 1.0}, step=step, epoch=step)
    path = run_dir / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    for is_told in (True, False):  # the second resumes where the first did
        caplog.clear()
        with open_tracker(cfg, run_dir) as tracker:
            tracker.rewind(3)
            tracker.log({"train/loss": 1.0}, step=4, epoch=4)
        assert [record["step"] for record in read_records(path)] == [1, 2, 4]
        assert ("line 3 is damaged, and its metrics are lost" in caplog.text) == is_told


def test_a_store_in_a_file_on_a_network_is_told(run, monkeypatch, caplog) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir):
        pass
    assert "lies on" not in caplog.text
    monkeypatch.setattr(tracking, "network_filesystem", lambda _: "nfs4")
    with open_tracker(cfg, run_dir):
        pass
    assert "mlflow.db lies on nfs4: runs of several nodes" in caplog.text
    assert "Give the address of an MLflow server" in caplog.text


def test_a_run_that_cannot_write_its_records_is_ended_in_the_store(run, monkeypatch) -> None:
    cfg, run_dir = run

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), open_tracker(cfg, run_dir) as tracker:
        tracker.log({"train/loss": 1.0}, step=1, epoch=1)
        monkeypatch.setattr(tracker, "sync", full)
    assert run.stored()[1].info.status == "FINISHED"


def test_a_resumed_run_goes_on_in_the_same_mlflow_run_without_duplicates(run) -> None:
    cfg, run_dir = run
    with pytest.raises(Interrupted), open_tracker(cfg, run_dir) as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/loss": float(step)}, step=step, epoch=0)
        raise Interrupted(15)
    first = run.stored()[1].info.run_id
    with open_tracker(cfg, run_dir) as tracker:
        tracker.rewind(2)
        for step in (3, 4):
            tracker.log({"train/loss": float(step)}, step=step, epoch=0)
            if step == 3:
                tracker.log({"val/top1": 50.0, "best/val/top1": 50.0}, step=step, epoch=0)
    client, stored = run.stored()
    assert (stored.info.run_id, stored.info.status) == (first, "FINISHED")
    assert [metric.step for metric in client.get_metric_history(first, "train/loss")] == [
        1,
        2,
        3,
        4,
    ]
    # Not sent before the stop
    for name in ("val/top1", "best/val/top1"):
        assert [metric.step for metric in client.get_metric_history(first, name)] == [3]
    assert [record["step"] for record in read_records(run_dir / "metrics.jsonl")] == [1, 2, 3, 3, 4]


def test_the_best_evaluations_reach_the_store_by_step_and_once_though_the_run_is_resumed(
    run,
) -> None:
    cfg, run_dir = run
    evaluations = ((1, 40.0, True), (2, 60.0, True), (3, 50.0, False), (4, 70.0, True))

    def log(tracker, found) -> None:
        for step, top1, is_best in found:
            best = {"best/val/top1": top1} if is_best else {}
            tracker.log({"val/top1": top1, **best}, step=step, epoch=step)

    with pytest.raises(Interrupted), open_tracker(cfg, run_dir) as tracker:
        log(tracker, evaluations[:3])
        raise Interrupted(15)
    with open_tracker(cfg, run_dir) as tracker:
        tracker.rewind(1)  # the checkpoint is of the first
        log(tracker, evaluations[1:])
    client, stored = run.stored()
    history = client.get_metric_history(stored.info.run_id, "best/val/top1")
    assert [(metric.step, metric.value) for metric in history] == [(1, 40), (2, 60), (4, 70)]
    assert stored.data.metrics["best/val/top1"] == 70


def test_a_run_is_tagged_with_code_and_versions(run) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir):
        pass
    tags = run.stored()[1].data.tags
    assert tags["numpy"].startswith("1.26") and tags["mindspore"].startswith("2.10")
    assert len(tags.get("mlflow.source.git.commit", "0" * 40)) == 40
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["beit_exp.run_dir"] == str(run_dir)
    assert {"host", "python", "mlflow.user", "mlflow.source.name"} <= tags.keys()


def test_a_process_that_is_not_the_first_leaves_nothing(run, empty_store: Path) -> None:
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
    assert (run_dir.parent / "mlflow.db").read_bytes() == empty_store.read_bytes()


def test_a_run_tells_what_was_typed(run, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, run_dir = run
    cfg = cfg.model_copy(update={"tracking": cfg.tracking.model_copy(update={"run_name": None})})
    monkeypatch.setenv(OVERRIDES, "optimizer.base_lr=3e-05 'dataset.data_url=/my data/x'")
    with open_tracker(cfg, run_dir):
        pass
    monkeypatch.delenv(OVERRIDES)
    with open_tracker(cfg, run_dir):  # resumed by the worker alone
        pass
    stored = run._replace(cfg=cfg).stored()[1]
    assert stored.info.run_name == "base_lr=3e-05 data_url=x run"
    typed = stored.data.tags[OVERRIDES_TAG]
    assert typed == "optimizer.base_lr=3e-05 'dataset.data_url=/my data/x'"


def test_a_data_set_has_a_short_digest(run) -> None:
    cfg, run_dir = run
    found = {
        "name": "digits",
        "source": "/data",
        "context": "training",
        "digest": "0123456789abcdef",
    }
    with open_tracker(cfg, run_dir) as tracker:
        tracker.log_facts(datasets=[{**found, "images": 80, "classes": 10}])
    (given,) = run.stored()[1].inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "01234567")
