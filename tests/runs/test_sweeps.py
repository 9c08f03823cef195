"""Whole sweeps over a grid, by every launcher that is offered."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from settings import ROOT
from whole_runs import Command, records, small, wait_for

from beit_exp.config.mapping import load_config
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.train.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_a_sweep_is_one_parent_with_a_child_per_value(
    launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    done = launch(
        "-m",
        *small(few_digits),
        "optimizer.layer_decay=0.65,0.75,0.85",
        "hydra.sweep.dir=sweep",
        timeout_s=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = launch.runs()
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [
        run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    assert sorted(run.data.params["optimizer.layer_decay"] for run in children) == [
        "0.65",
        "0.75",
        "0.85",
    ]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.info.run_name for run in children) == [
        f"layer_decay={d}" for d in (0.65, 0.75, 0.85)
    ]
    # The lowest layer moves the further, the larger its share of the learning rate.
    moved = []
    for decay in (0.65, 0.75, 0.85):
        folder = tmp_path / "sweep" / f"optimizer.layer_decay={decay}"
        cfg = load_config(folder / "config.yaml")
        start = build_model(
            cfg.model,
            num_classes=10,
            precision=build_precision("O0", half=ms.float32),
            seed=cfg.seed,
        )
        trained = load_checkpoint(folder / "checkpoints" / "step_00000010.safetensors").tensors
        name = "patch_embed.proj.weight"
        moved.append(
            np.abs(trained[f"model/{name}"] - start.parameters_dict()[name].asnumpy()).mean()
        )
    assert moved[0] < 0.9 * moved[1] < 0.9**2 * moved[2]


@pytest.mark.long
def test_a_sweep_without_its_tracking_store_still_runs(
    launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    done = launch(
        "-m",
        *small(few_digits),
        "seed=1,2",
        "tracking.uri=http://127.0.0.1:9",
        "hydra.sweep.dir=sweep",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the sweep has no parent run" in done.stdout
    assert all(
        (tmp_path / "sweep" / name / "metrics.json").exists() for name in ("seed=1", "seed=2")
    )


def test_a_failing_job_of_a_sweep_leaves_the_others_running(
    launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    done = launch(
        "-m",
        *small(few_digits, epochs=2),
        "train.batch_size=16,1000,8",
        "hydra.sweep.dir=sweep",
        timeout_s=300,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "train.batch_size = 1000: the 80 training images make no full step" in done.stdout
    jobs = [tmp_path / "sweep" / f"train.batch_size={size}" for size in (16, 1000, 8)]
    assert [(job / "metrics.json").exists() for job in jobs] == [True, False, True]
    assert "make no full step" in json.loads((jobs[1] / "failed.json").read_text())["message"]
    assert re.search(
        r"^train.batch_size=1000 .*failed \(train\.batch_size = 1000", done.stdout, re.MULTILINE
    )
    rest = done.stdout.splitlines()[-1]
    program = f"python {ROOT / 'launch.py'}"
    assert rest.startswith(f"2 of 3 jobs are done; to do the rest: {program} -m ")
    statuses = {
        run.data.params.get("train.batch_size", "parent"): run.info.status for run in launch.runs()
    }
    assert statuses == {"parent": "FAILED", "16": "FINISHED", "1000": "FAILED", "8": "FINISHED"}


def parent_and_children(launch: Command):
    runs = launch.runs()
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return parent, [
        run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]


def test_a_sweep_ends_with_its_comparison_on_disk_and_in_the_parent_run(
    launch: Command, few_digits: Path
) -> None:
    first = launch("-m", *small(few_digits), "seed=1,2", "hydra.sweep.dir=sweep")
    assert first.returncode == 0, first.stdout + first.stderr
    log = launch.folder / "sweep" / "seed=1" / "launch.log"
    written = log.stat().st_mtime
    again = launch("-m", *small(few_digits), "seed=3,1,2", "hydra.sweep.dir=sweep")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "seed=1 is done" in again.stdout and "seed=3 is done" not in again.stdout
    assert log.stat().st_mtime == written
    parent, children = parent_and_children(launch)
    assert sorted(run.info.run_name for run in children) == ["seed=1", "seed=2", "seed=3"]
    best = {
        run.info.run_id: max(
            m.value for m in launch.client().get_metric_history(run.info.run_id, "val/top1")
        )
        for run in children
    }
    assert parent.data.tags["beit_exp.swept"] == "seed"
    assert parent.data.metrics["best/val/top1"] == max(best.values())
    assert best[parent.data.tags["beit_exp.best_run_id"]] == max(best.values())
    assert "| seed=3 | 3 |" in parent.data.tags["mlflow.note.content"]
    stored = {entry.path for entry in launch.client().list_artifacts(parent.info.run_id, "report")}
    assert stored >= {
        f"report/{name}" for name in ("report.html", "table.csv", "curves.png", "response.png")
    }
    child = children[0]
    assert {entry.dataset.name for entry in child.inputs.dataset_inputs} == {"digits"}
    assert {tag.value for entry in child.inputs.dataset_inputs for tag in entry.tags} == {
        "training",
        "validation",
    }
    assert "cores of" in child.data.tags["device"]
    assert Image.open(launch.folder / "sweep" / "report" / "response.png").width > 500


def test_a_stopped_sweep_starts_no_further_job_and_goes_on_when_started_again(
    launch: Command, few_digits: Path
) -> None:
    settings = ("-m", *small(few_digits, epochs=20), "seed=1,2", "hydra.sweep.dir=sweep")
    process = launch.start(*settings)
    first = launch.folder / "sweep" / "seed=1"
    wait_for(lambda: records(first) >= 10, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    parent, _ = parent_and_children(launch)
    assert parent.info.status == "KILLED"
    assert (
        not (launch.folder / "sweep" / "seed=2").exists() and not (first / "failed.json").exists()
    )
    done = launch(*settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming at step" in done.stdout
    parent, children = parent_and_children(launch)
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"} and len(children) == 2


@pytest.mark.parametrize("turn", [0, pytest.param(1, marks=pytest.mark.long)])
def test_jobs_at_once_on_a_fresh_store_are_all_complete(
    turn: int, launch: Command, few_digits: Path
) -> None:
    settings = (
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        f"seed={turn},{turn + 10}",
        "hydra.sweep.dir=sweep",
    )
    done = launch("-m", *small(few_digits), *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    parent, children = parent_and_children(launch)
    assert len(children) == 2 and {run.info.status for run in [parent, *children]} == {"FINISHED"}
    for child in children:
        history = launch.client().get_metric_history(child.info.run_id, "train/loss")
        assert [metric.step for metric in history] == list(range(1, 11))
        assert child.data.tags["device"].startswith("1 cores" if os.cpu_count() == 2 else "")


def test_a_sweep_runs_as_jobs_of_a_cluster(launch: Command, few_digits: Path) -> None:
    done = launch(
        "-m",
        *small(few_digits),
        "hydra/launcher=submitit_local",
        "seed=1,2",
        "hydra.sweep.dir=sweep",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, children = parent_and_children(launch)
    assert sorted(run.info.run_name for run in children) == ["seed=1", "seed=2"]
    assert {run.info.status for run in children} == {"FINISHED"}
