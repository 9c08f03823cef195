"""Whole runs of the command on a small network and 130 digits."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from whole_runs import Command, metrics_of, small, without_times

from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config, Section
from beit_exp.config.traits import task_traits
from beit_exp.errors import Interrupted
from beit_exp.inference import held_out

# Of every run: where it is told, and what it may change
ELSEWHERE = ("tracking", "allow_changes")
GROUPS = {
    field.annotation: name
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def test_a_run_leaves_everything_in_its_directory(finished: tuple[Command, Path]) -> None:
    _, run_dir = finished
    files = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    assert "report/report.html" in files
    assert {name for name in files if not name.startswith("report/")} == {
        "checkpoints/best.safetensors",
        "checkpoints/step_00000005.safetensors",
        "checkpoints/step_00000010.safetensors",
        "config.yaml",
        "facts.json",
        "launch.log",
        "metrics.json",
        "metrics.jsonl",
        "mlflow.json",
        "plots/batch.png",
        "plots/confusion.png",
        "plots/curves.png",
        "plots/mistakes.png",
        "plots/reliability.png",
        "plots/schedule.png",
        "val_outcomes.npz",
    }
    assert load_config(run_dir / "config.yaml").optimizer.base_lr == 3e-5
    assert metrics_of(run_dir).keys() >= {
        "val/top1",
        "val/top5",
        "val/loss",
        "best/val/top1",
        "best/epoch",
        "step",
    }
    assert all(Image.open(path).size[0] > 200 for path in (run_dir / "plots").iterdir())


def test_a_run_is_tracked_with_its_setting_and_its_metrics_by_step(
    finished: tuple[Command, Path],
) -> None:
    command, run_dir = finished
    run_id = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
    client = command.client()
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params["optimizer.base_lr"]) == ("FINISHED", "3e-05")
    for name, steps in (("train/loss", 10), ("optim/lr", 10), ("val/top1", 2)):
        history = client.get_metric_history(run_id, name)
        recorded = [
            (record["step"], record[name]) for record in without_times(run_dir) if name in record
        ]
        assert [(metric.step, metric.value) for metric in history] == recorded
        assert len(history) == steps
    assert {artifact.path for artifact in client.list_artifacts(run_id, "plots")} == {
        "plots/batch.png",
        "plots/confusion.png",
        "plots/curves.png",
        "plots/mistakes.png",
        "plots/reliability.png",
        "plots/schedule.png",
    }


@pytest.mark.slow
def test_a_finished_run_started_again_changes_nothing(
    finished: tuple[Command, Path], work: Callable[..., Path], tmp_path: Path, few_digits: Path
) -> None:
    shutil.copytree(finished[0].folder, tmp_path, dirs_exist_ok=True)
    before = without_times(tmp_path / "run")
    run_dir = work(
        *small(few_digits, "optimizer.base_lr=3e-5", "scheduler.min_lr=1e-7", "model.depth=1")
    )
    assert without_times(run_dir) == before
    assert metrics_of(run_dir) == metrics_of(finished[1])


@pytest.mark.slow
def test_a_kill_before_the_best_weights_had_their_name_is_made_good(
    finished: tuple[Command, Path], work: Callable[..., Path], tmp_path: Path, few_digits: Path
) -> None:
    shutil.copytree(finished[0].folder, tmp_path, dirs_exist_ok=True)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert metrics_of(tmp_path / "run")["best/step"] == 10
    shutil.copy(checkpoints / "step_00000005.safetensors", checkpoints / "best.safetensors")
    (tmp_path / "run" / "metrics.json").unlink()
    work(*small(few_digits, "optimizer.base_lr=3e-5", "scheduler.min_lr=1e-7", "model.depth=1"))
    best, last = (checkpoints / f"{name}.safetensors" for name in ("best", "step_00000010"))
    assert best.read_bytes() == last.read_bytes()


def own_images(data: Path) -> tuple[str, ...]:
    """Of 80 images 60 to train on, 10 to validate, 10 to test."""
    shares = ("dataset.val_fraction=0.1", "dataset.test_fraction=0.1")
    return small(data, "dataset=image_folder", "dataset.num_classes=10", *shares)


def measured(run_dir: Path) -> list[dict[str, Any]]:
    return [record for record in without_times(run_dir) if "test/top1" in record]


@pytest.mark.slow
def test_the_test_set_is_measured_once_by_the_best_weights(
    work: Callable[..., Path], few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, load = own_images(few_digits / "train"), held_out.load_trained
    places: list[str] = []

    def note(network: Any, place: str, *, kind: str) -> None:
        if not places:
            places.append(place)
            raise Interrupted(signal.SIGTERM)  # training is done, and nothing is measured
        places.append(f"{kind} of {Path(place).name}")
        load(network, place, kind=kind)

    monkeypatch.setattr(held_out, "load_trained", note)
    run_dir = work(*settings, status=128 + signal.SIGTERM)
    assert not (run_dir / "metrics.json").exists() and measured(run_dir) == []
    work(*settings)
    assert places[1:] == ["best of run"]
    (record,), metrics = measured(run_dir), metrics_of(run_dir)
    names = ("loss", "top1", "top5", "balanced_accuracy", "macro_f1")
    found = {f"test/{name}": metrics[f"test/{name}"] for name in names}
    assert record == {"step": metrics["step"], "epoch": 2.0, **found}


@pytest.mark.slow
def test_a_data_set_that_has_changed_is_refused_by_what_goes_on_from_it(
    work: Callable[..., Path], few_digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Path(shutil.copytree(few_digits / "train", tmp_path / "data"))
    run_dir = work(*own_images(data))
    evaluated = work("task=evaluate", f"checkpoint={run_dir}", name="evaluated")
    assert metrics_of(evaluated)["val/loss"] == metrics_of(run_dir)["best/val/loss"]
    next((data / "3").iterdir()).rename(data / "3" / "new.png")
    before = without_times(run_dir)
    work(*own_images(data), status=2)
    work("task=evaluate", f"checkpoint={run_dir}", name="again", status=2)
    work("task=predict", f"checkpoint={run_dir}", name="predicted", status=2)
    assert caplog.text.count("the data set has changed") == 3
    assert caplog.text.count("1 images came, 1 went") == 3
    assert without_times(run_dir) == before


def test_other_settings_on_a_run_directory_are_refused_with_the_list(
    finished: tuple[Command, Path],
) -> None:
    command, run_dir = finished
    done = command("optimizer.base_lr=1e-3", "seed=1", f"hydra.run.dir={run_dir}")
    assert done.returncode == 2
    assert "optimizer.base_lr: 3e-05 there, 0.001 here" in done.stderr
    assert "seed: 42 there, 1 here" in done.stderr


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The full names of settings read so far, as attributes of a `Config`."""
    found: set[str] = set()
    get = Section.__getattribute__

    def record(section: Section, name: str) -> Any:
        if name in type(section).model_fields and not name.startswith("model_"):
            group = GROUPS.get(type(section))
            if group is not None:
                found.add(f"{group}.{name}")
            elif name not in GROUPS.values():
                found.add(name)
        return get(section, name)

    monkeypatch.setattr(Section, "__getattribute__", record)
    return found


def unnamed(found: set[str], task: Any) -> list[str]:
    is_read = task_traits(task).is_read
    return sorted(
        key for key in found if not is_read(key) and key.partition(".")[0] not in ELSEWHERE
    )


@pytest.mark.slow
def test_a_training_and_what_follows_it_read_no_setting_that_they_do_not_name(
    work: Callable[..., Path], read: set[str], few_digits: Path
) -> None:
    run_dir = work(*small(few_digits))
    assert {"optimizer.base_lr", "train.epochs", "seed"} <= read
    assert unnamed(read, "finetune") == []
    for task in ("evaluate", "predict", "explain", "features", "probe", "export"):
        read.clear()
        work(f"task={task}", f"checkpoint={run_dir}", name=task)
        assert {"checkpoint", "checkpoint_kind"} <= read
        assert unnamed(read, task) == [], task


@pytest.mark.slow
def test_records_are_on_disk_before_a_checkpoint_counts_them(
    work: Callable[..., Path], few_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, flushed = os.fsync, 0
    are_counted: list[bool] = []

    def note(descriptor: int) -> None:
        nonlocal flushed
        flush(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name == "metrics.jsonl":
            flushed = path.stat().st_size
        elif path.name.startswith(".step_"):
            written = path.parents[1] / "metrics.jsonl"
            are_counted.append(flushed == written.stat().st_size > 0)

    monkeypatch.setattr(os, "fsync", note)
    work(*small(few_digits))
    assert are_counted == [True, True]
