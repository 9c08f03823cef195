"""A run whose best weights are not its last: every task takes the best, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from whole_runs import Command, metrics_of, small

from beit_exp.weights.read import read_weights

# The learning rate grows to one that ruins the network: the first epoch is the best.
RUINED = ("scheduler=constant", "optimizer.base_lr=1.0", "scheduler.warmup_length=2")


@pytest.fixture(scope="module")
def ruined(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    command = Command(tmp_path_factory.mktemp("ruined"))
    settings = ("hydra.run.dir=run", "tracking.log_model=ruined")
    done = command(*small(few_digits, *RUINED, *settings, epochs=3))
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = metrics_of(command.folder / "run")
    assert metrics["best/val/loss"] < metrics["val/loss"] - 0.1
    command.data = few_digits
    return command


@pytest.mark.slow
@pytest.mark.long
def test_every_task_takes_the_best_weights_of_a_run_and_says_which(ruined: Command) -> None:
    metrics = metrics_of(ruined.folder / "run")
    said = f"step {metrics['best/step']:g}, the best by val/top1"

    def work(name: str, *overrides: str) -> Path:
        done = ruined(*overrides, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
        return ruined.folder / name

    evaluated = metrics_of(work("evaluated", "task=evaluate", "checkpoint=run"))
    assert evaluated["val/loss"] == metrics["best/val/loss"]
    predicted = np.load(work("predicted", "task=predict", "checkpoint=run") / "logits.npy")
    exported = work("exported", "task=export", "checkpoint=run", "export.formats=[safetensors]")
    file = exported / "beit_micro.safetensors"
    best = read_weights(ruined.folder / "run" / "checkpoints" / "best.safetensors")
    assert all((best[name] == array).all() for name, array in read_weights(file).items())
    done = ruined("task=predict", f"checkpoint={file}", *model_of(ruined), "hydra.run.dir=again")
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_array_equal(np.load(ruined.folder / "again" / "logits.npy"), predicted)
    check_served(ruined, "models:/ruined/1", ruined.folder / "predicted" / "predictions.csv")
    # So small a rate changes no weight, so what it began with is what it ends with
    still = ("model.pretrained=run", "scheduler=constant", "optimizer.base_lr=1e-30")
    assert f"from run/checkpoints/best.safetensors: {said}" in work_out(ruined, *still)
    again = ruined("task=predict", "checkpoint=tuned", "hydra.run.dir=of_tuned")
    assert again.returncode == 0, again.stdout + again.stderr
    np.testing.assert_array_equal(np.load(ruined.folder / "of_tuned" / "logits.npy"), predicted)


def work_out(command: Command, *settings: str) -> str:
    """What a fine-tuning into the folder `tuned` prints."""
    done = command(*model_of(command), *settings, "hydra.run.dir=tuned")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_served(command: Command, model: str, predictions: Path) -> None:
    """A logged model answers as `task=predict` did, in a process of its own."""
    script = f"""
import mlflow, pandas
mlflow.set_tracking_uri("sqlite:///{command.folder / "mlflow.db"}")
classes = {{f"class{{number}}": str for number in range(1, 6)}}
expected = pandas.read_csv({str(predictions)!r}, dtype=classes)
found = mlflow.pyfunc.load_model({model!r}).predict(expected[["path"]])
pandas.testing.assert_frame_equal(found, expected.drop(columns="path"), atol=2e-6)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["BEIT_EXP_IMAGES"] = str(command.data)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=command.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_last_weights_are_taken_where_that_is_asked(ruined: Command) -> None:
    done = ruined("task=evaluate", "checkpoint=run", "checkpoint_kind=last", "hydra.run.dir=last")
    assert done.returncode == 0, done.stdout + done.stderr
    last = metrics_of(ruined.folder / "last")
    assert last["val/loss"] == metrics_of(ruined.folder / "run")["val/loss"]


@pytest.mark.slow
def test_the_best_result_is_logged_as_it_happens(ruined: Command) -> None:
    lines = (ruined.folder / "run" / "metrics.jsonl").read_text().splitlines()
    found = [record for record in map(json.loads, lines) if "best/val/top1" in record]
    metrics = metrics_of(ruined.folder / "run")
    assert found[-1]["step"] == metrics["best/step"]
    assert found[-1]["best/val/top1"] == metrics["best/val/top1"]


def model_of(command: Command) -> tuple[str, ...]:
    """What a weights file alone does not say: the settings of the run's network and data."""
    return small(command.data)
