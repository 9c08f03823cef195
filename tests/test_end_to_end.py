"""Whole runs of the command on a small network and 130 digits."""

from __future__ import annotations

import csv
import json
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, Command, agree, compose
from PIL import Image
from whole_runs import metrics_of, same_weights, small, without_times

from beit_exp.config.mapping import load_config
from beit_exp.tracking.records import read_records


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> tuple[Command, Path]:
    """A finished run, and the command in its folder."""
    command = Command(tmp_path_factory.mktemp("finished"))
    done = command(
        *small(few_digits, "optimizer.base_lr=3e-5", "scheduler.min_lr=1e-7", "hydra.run.dir=run")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return command, command.folder / "run"


def test_a_run_leaves_everything_in_its_directory(finished: tuple[Command, Path]) -> None:
    _, run_dir = finished
    files = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    assert files == {
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
        "plots/schedule.png",
    }


def test_evaluation_gives_the_runs_last_accuracy_exactly(finished: tuple[Command, Path]) -> None:
    command, run_dir = finished
    done = command("task=evaluate", f"checkpoint={run_dir}", "hydra.run.dir=evaluated")
    found, expected = metrics_of(command.folder / "evaluated"), metrics_of(run_dir)
    assert found == {name: expected[name] for name in ("val/loss", "val/top1", "val/top5")}
    assert str(expected["val/top1"]) in done.stdout


def test_prediction_lists_every_image_in_path_order(
    finished: tuple[Command, Path], few_digits: Path
) -> None:
    command, run_dir = finished
    images = few_digits / "val"
    command("task=predict", f"checkpoint={run_dir}", f"images={images}", "hydra.run.dir=predicted")
    with (command.folder / "predicted" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    logits = np.load(command.folder / "predicted" / "logits.npy")
    assert [row["path"] for row in rows] == sorted(str(path) for path in images.rglob("*.png"))
    assert logits.shape == (50, 10)
    assert [row["class1"] for row in rows] == [str(best) for best in logits.argmax(axis=1)]
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert float(rows[0]["probability1"]) == pytest.approx(probabilities.max(), abs=1e-5)
    hits = np.mean([row["class1"] == Path(row["path"]).parent.name for row in rows])
    assert 100 * hits == pytest.approx(metrics_of(run_dir)["val/top1"])


def test_a_flat_validation_folder_with_labels_is_evaluated_as_class_folders_are(
    finished: tuple[Command, Path], few_digits: Path, tmp_path: Path
) -> None:
    command, run_dir = finished
    (tmp_path / "val").mkdir()
    lines = []
    for path in sorted((few_digits / "val").rglob("*.png")):
        (tmp_path / "val" / path.name).write_bytes(path.read_bytes())
        lines.append(f"{path.name} {path.parent.name}\n")
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(sorted(lines)))
    flat = (
        "dataset.name=image_folder",
        f"dataset.data_url={tmp_path}",
        f"dataset.val_labels={labels}",
    )
    done = command("task=evaluate", f"checkpoint={run_dir}", *flat, "hydra.run.dir=flat")
    assert done.returncode == 0, done.stdout + done.stderr
    found, expected = metrics_of(command.folder / "flat"), metrics_of(run_dir)
    assert (found["val/top1"], found["val/top5"]) == (expected["val/top1"], expected["val/top5"])
    # Summed in another order
    assert found["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-6)
    with (command.folder / "flat" / "per_class.csv").open() as file:
        classes = list(csv.DictReader(file))
    assert [row["class"] for row in classes] == [str(digit) for digit in range(10)]
    assert [row["images"] for row in classes] == ["5"] * 10
    assert np.mean([float(row["top1"]) for row in classes]) == pytest.approx(expected["val/top1"])
    with (command.folder / "flat" / "confusion.csv").open() as file:
        rows = list(csv.reader(file))
    assert sum(int(rows[number + 1][number + 1]) for number in range(10)) == round(
        expected["val/top1"] / 2
    )


@pytest.mark.slow
def test_a_tar_of_images_is_predicted_as_its_folder(
    finished: tuple[Command, Path], few_digits: Path, tmp_path: Path
) -> None:
    command, run_dir = finished
    folder, archive_path = few_digits / "val" / "3", tmp_path / "images.tar.gz"
    with tarfile.open(archive_path, "w:gz") as archive:
        archive.add(folder, "some/3")
    works = {
        "tar": (archive_path, ()),
        "dir": (folder, ()),
        "flip": (folder, ("evaluation.flip=true",)),
    }
    for name, (images, more) in works.items():
        done = command(
            "task=predict",
            f"checkpoint={run_dir}",
            f"images={images}",
            *more,
            f"hydra.run.dir={name}",
        )
        assert done.returncode == 0, done.stdout + done.stderr
    logits = {name: np.load(command.folder / name / "logits.npy") for name in works}
    np.testing.assert_array_equal(logits["tar"], logits["dir"])
    assert np.abs(logits["flip"] - logits["dir"]).max() > 1e-3
    with (command.folder / "tar" / "predictions.csv").open() as file:
        names = [row["path"] for row in csv.DictReader(file)]
    assert names == [f"some/3/{path.name}" for path in sorted(folder.iterdir())]
    assert [
        path.name for path in (command.folder / "tar").iterdir() if path.name.startswith(".images")
    ] == []


def test_exports_give_the_networks_logits_read_back(finished: tuple[Command, Path]) -> None:
    command, run_dir = finished
    formats = ("mindir", "onnx", "safetensors", "huggingface")
    chosen = f"export.formats=[{','.join(formats)}]"
    done = command("task=export", f"checkpoint={run_dir}", chosen, "hydra.run.dir=exported")
    assert done.returncode == 0, done.stdout
    differences = {
        name: value
        for name, value in metrics_of(command.folder / "exported").items()
        if "export/" in name
    }
    assert differences.keys() == {f"export/{form}_difference" for form in formats}
    assert max(differences.values()) <= 1e-5
    folder = command.folder / "exported"
    files = [
        *(folder / f"beit_micro.{form}" for form in formats[:3]),
        folder / "huggingface" / "model.safetensors",
    ]
    assert min(path.stat().st_size for path in files) > 10_000
    described = json.loads((folder / "huggingface" / "config.json").read_text())
    assert (described["hidden_size"], described["id2label"]["7"]) == (32, "7")
    preprocess = json.loads((command.folder / "exported" / "preprocess.json").read_text())
    assert preprocess["classes"] == [str(digit) for digit in range(10)]


def test_official_weights_predict_timms_logits_on_image_files(
    launch: Command, tmp_path: Path
) -> None:
    reference = np.load(GOLDEN / "model" / "rel_pos" / "reference.npz")
    found = launch(
        "task=predict",
        f"checkpoint={GOLDEN / 'model' / 'rel_pos' / 'official.pth'}",
        f"images={GOLDEN / 'eval'}",
        "model.embed_dim=48",
        "model.depth=3",
        "model.num_heads=3",
        "model.abs_pos_emb=false",
        "dataset.crop_pct=0.875",
        "hydra.run.dir=run",
    )
    assert found.returncode == 0, found.stdout
    logits = np.load(tmp_path / "run" / "logits.npy")
    expected = np.load(GOLDEN / "predict_logits.npz")
    assert [path.name for path in sorted((GOLDEN / "eval").glob("*.jpg"))] == expected[
        "names"
    ].tolist()
    agree("logits of photographs through task=predict", logits, expected["logits"], within=1e-4)
    assert reference["logits"].shape[1] == logits.shape[1]


def test_a_finished_run_started_again_changes_nothing(
    finished: tuple[Command, Path], few_digits: Path
) -> None:
    command, run_dir = finished
    before = without_times(run_dir)
    done = command(
        *small(few_digits, "optimizer.base_lr=3e-5", "scheduler.min_lr=1e-7", "hydra.run.dir=run")
    )
    assert done.returncode == 0
    assert without_times(run_dir) == before


def test_other_settings_on_a_run_directory_are_refused_with_the_list(
    finished: tuple[Command, Path],
) -> None:
    command, run_dir = finished
    done = command("optimizer.base_lr=1e-3", "seed=1", f"hydra.run.dir={run_dir}")
    assert done.returncode == 2
    assert "optimizer.base_lr: 3e-05 there, 0.001 here" in done.stderr
    assert "seed: 42 there, 1 here" in done.stderr


@pytest.mark.slow
def test_losses_through_launch_are_those_of_torch_and_timm(launch: Command, tmp_path: Path) -> None:
    """The recipe as a whole on image files: two epochs of the same training in torch and timm."""
    golden = json.loads((GOLDEN / "recipe.json").read_text())
    data = tmp_path / "digits"
    done = launch(
        *golden["overrides"],
        f"dataset.data_url={data}",
        f"model.pretrained={GOLDEN / 'recipe_init.safetensors'}",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [
        record["train/loss"] for record in without_times(tmp_path / "run") if "train/loss" in record
    ]
    agree("losses of two epochs through launch.py", losses, golden["losses"], within=1e-3)
    assert metrics_of(tmp_path / "run")["val/top1"] == pytest.approx(golden["val_top1"], abs=0.3)


@pytest.mark.slow
def test_two_runs_from_one_seed_are_equal(
    launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    settings = small(
        few_digits, "augment=finetune_mixup", "model.drop_path_rate=0.2", "train.ema_decay=0.9"
    )
    for name in ("a", "b"):
        assert launch(*settings, f"hydra.run.dir={name}").returncode == 0
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")
    assert same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_stopped_after_two_epochs_and_resumed_equals_one_never_stopped(
    number: signal.Signals, launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    settings = small(
        few_digits,
        "augment=finetune_mixup",
        "model.drop_path_rate=0.2",
        "train.ema_decay=0.9",
        epochs=40,
    )
    whole = launch(*settings, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stdout
    stop_after(
        launch.start(*settings, "hydra.run.dir=halved"),
        tmp_path / "halved",
        epochs=2,
        number=number,
    )
    if number == signal.SIGKILL:  # perhaps before the store was met
        assert {run.info.status for run in launch.runs()} <= {"FINISHED", "RUNNING"}
    else:
        assert launch.runs()[-1].info.status == "KILLED"
    assert not (tmp_path / "halved" / "metrics.json").exists()
    assert launch(*settings, "hydra.run.dir=halved").returncode == 0
    assert without_times(tmp_path / "halved") == without_times(tmp_path / "whole")
    assert same_weights(tmp_path / "halved", tmp_path / "whole")
    assert [run.info.status for run in launch.runs()] == ["FINISHED", "FINISHED"]


def stop_after(process, run_dir: Path, *, epochs: int, number: signal.Signals) -> None:
    """Send a signal to a command, and to its worker where the command cannot pass it on, once
    epochs are done.
    """
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.jsonl").exists() or read_epoch(run_dir) < epochs:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    workers = [
        int(line)
        for line in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    process.send_signal(number)
    if number != signal.SIGTERM:
        import os

        os.kill(workers[0], number)
    out, err = process.communicate(timeout=120)
    # While a graph runs, MindSpore turns SIGINT into SIGTERM.
    statuses = {-number} if number == signal.SIGKILL else {128 + number, 128 + signal.SIGTERM}
    assert process.returncode in statuses, out + err
    if number != signal.SIGKILL:
        assert f"to go on: python -m beit_exp.worker {run_dir}" in out


def read_epoch(run_dir: Path) -> float:
    return max((record["epoch"] for record in read_records(run_dir / "metrics.jsonl")), default=0)


@pytest.mark.slow
def test_fine_tuning_starts_from_another_runs_weights_at_another_size(
    launch: Command, few_digits: Path
) -> None:
    assert (
        launch(*small(few_digits, "model.abs_pos_emb=false", "hydra.run.dir=first")).returncode == 0
    )
    done = launch(
        *small(
            few_digits, "model.abs_pos_emb=true", "model.pretrained=first", "hydra.run.dir=second"
        )
    )
    assert done.returncode == 2 and "pos_embed (1, 5, 32) is missing" in done.stdout
    settings = small(
        few_digits, "model.abs_pos_emb=false", "model.image_size=48", "model.pretrained=first"
    )
    done = launch(*settings, "hydra.run.dir=third")
    assert done.returncode == 0
    assert "resized        2" in done.stdout


@pytest.mark.slow
def test_quickstart_learns_the_digits(launch: Command, tmp_path: Path) -> None:
    done = launch("hydra.run.dir=quick", timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics_of(tmp_path / "quick")["val/top1"] >= 96
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout
    assert "python launch.py experiment=imagenet_base" in done.stdout
    assert compose()["train"]["epochs"] == metrics_of(tmp_path / "quick")["epoch"]
