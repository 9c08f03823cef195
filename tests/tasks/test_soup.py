from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from once import made_once
from safetensors.numpy import load_file
from whole_runs import Command, best_of, metrics_of, run_id, same_weights, small

pytestmark = pytest.mark.slow
RATES = ("1e-3", "2e-3")
METRIC = "val/top1"


@pytest.fixture(scope="module")
def swept(shared: Path, empty_store: Path, few_digits: Path) -> tuple[Command, Path]:
    """The directory of a finished sweep, and the command in its folder."""

    def train(folder: Path) -> None:
        shutil.copy(empty_store, folder / "mlflow.db")
        rates = f"optimizer.base_lr={','.join(RATES)}"
        data = ("dataset=image_folder", "dataset.num_classes=10", "dataset.val_fraction=0.25")
        done = Command(folder)(
            "-m",
            *small(few_digits / "train", *data, "augment=light", "model.depth=1", rates),
            "hydra.sweep.dir=sweep",
        )
        assert done.returncode == 0, done.stdout + done.stderr

    folder = made_once(shared / "swept", train)
    return Command(folder), folder / "sweep"


def weights(run_dir: Path) -> dict[str, np.ndarray]:
    found = load_file(run_dir / "checkpoints" / "best.safetensors")
    return {name: array for name, array in found.items() if name.startswith("model/")}


def rows_of(run_dir: Path) -> list[list[str]]:
    return list(csv.reader((run_dir / "soup.csv").open()))


def test_a_soup_is_a_run_that_is_evaluated_and_exported_like_any(
    swept: tuple[Command, Path], work: Callable[..., Path]
) -> None:
    sweep_dir = swept[1]
    jobs = sorted(sweep_dir.glob("optimizer*"))
    soup = work("task=soup", f"checkpoint={sweep_dir}", "soup.kind=uniform", name="soup")
    found = weights(soup)
    for name, array in found.items():
        mean = np.mean([weights(job)[name].astype(np.float64) for job in jobs], axis=0)
        np.testing.assert_array_equal(array, mean.astype(np.float32))
    metrics = metrics_of(soup)
    own = {job.name: best_of(job)[METRIC] for job in jobs}
    assert metrics["ingredient/top1"] == max(own.values())
    assert {row[0]: float(row[1]) for row in rows_of(soup)[1:]} == own
    assert json.loads((soup / "facts.json").read_text())["tags"]["beit_exp.soup_of"] == " ".join(
        map(run_id, jobs)
    )
    # Nothing but its place is said: the settings and the split come with it
    evaluated = work("task=evaluate", f"checkpoint={soup}", name="evaluated")
    found = metrics_of(evaluated)
    assert {name: metrics[name] for name in found if name != "val/ece"} == {
        name: value for name, value in found.items() if name != "val/ece"
    }
    exported = work("task=export", f"checkpoint={soup}", "export.formats=[safetensors]", name="out")
    assert metrics_of(exported)["export/safetensors_difference"] <= 1e-5
    work("task=soup", f"checkpoint={sweep_dir}", "soup.kind=uniform", name="again")
    assert same_weights(soup, soup.parent / "again")
    assert metrics_of(soup.parent / "again") == metrics


def test_a_greedy_soup_is_no_worse_than_its_best_ingredient(
    swept: tuple[Command, Path], work: Callable[..., Path]
) -> None:
    soup = work("task=soup", f"checkpoint={swept[1]}", name="soup")
    metrics = metrics_of(soup)
    assert metrics[METRIC] >= metrics["ingredient/top1"]
    taken = [row for row in rows_of(soup)[1:] if row[2] == "yes"]
    assert len(taken) == metrics["soup/taken"] >= 1
    assert float(taken[-1][3]) == metrics[METRIC] == metrics[f"best/{METRIC}"]


def test_the_checkpoints_of_a_run_are_averaged(
    swept: tuple[Command, Path], few_digits: Path
) -> None:
    command, sweep_dir = swept
    run_dir = sorted(sweep_dir.glob("optimizer*"))[0]
    done = command("task=soup", f'checkpoint="{run_dir}"', "hydra.run.dir=of_run")
    assert done.returncode == 0, done.stdout + done.stderr
    names = {row[0] for row in rows_of(command.folder / "of_run")[1:]}
    assert names == {path.stem for path in (run_dir / "checkpoints").glob("step_*")}
    assert f"task=evaluate checkpoint={command.folder / 'of_run'}" in done.stdout
    started = command(
        *small(few_digits, "model.depth=1", "model.pretrained=of_run", epochs=1),
        "scheduler.warmup_length=0",
        "hydra.run.dir=from_soup",
    )
    assert started.returncode == 0, started.stdout + started.stderr
    assert "step 0, the best by val/top1" in started.stdout
