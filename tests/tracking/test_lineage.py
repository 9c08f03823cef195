from __future__ import annotations

import json
from pathlib import Path

import pytest
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import Config
from beit_exp.report.runs import read_store
from beit_exp.tracking.lineage import (
    INGREDIENTS_TAG,
    TRAINED_BY_TAG,
    find_training,
    ingredient_tags,
    is_job,
    lineage_tags,
)
from beit_exp.tracking.mlflow_store import open_experiment
from beit_exp.tracking.mlflow_write import PARENT_TAG
from beit_exp.tracking.tracker import open_tracker


def settings(store: str, *overrides: str) -> Config:
    return make_config(f"tracking.uri={store}", *overrides)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The directory of a run that is tracked as number 7 of a store."""
    run_dir = tmp_path / "training"
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "checkpoints" / "best.safetensors").touch()
    (run_dir / "mlflow.json").write_text(json.dumps({"uri": "sqlite:///a.db", "run_id": "7"}))
    save_config(settings("sqlite:///a.db"), run_dir / "config.yaml")
    return run_dir


@pytest.mark.parametrize("place", ["", "checkpoints/best.safetensors"])
@pytest.mark.parametrize(
    "task", ["evaluate", "predict", "explain", "features", "probe", "export", "soup"]
)
def test_a_run_that_takes_a_checkpoint_is_shown_below_its_training(
    training: Path, place: str, task: str
) -> None:
    cfg = settings("sqlite:///a.db", f"task={task}", f"checkpoint={training / place}")
    assert lineage_tags(cfg) == {TRAINED_BY_TAG: "7", PARENT_TAG: "7"}


@pytest.mark.parametrize(
    "overrides",
    [
        ("tracking.uri=sqlite:///b.db",),
        ("tracking.experiment=other",),
        (f"+tracking.tags={{{PARENT_TAG}: sweep}}",),
    ],
)
def test_in_another_place_or_in_a_sweep_the_training_is_only_named(
    training: Path, overrides: tuple[str, ...]
) -> None:
    cfg = settings("sqlite:///a.db", "task=evaluate", f"checkpoint={training}", *overrides)
    assert lineage_tags(cfg) == {TRAINED_BY_TAG: "7"}


def test_a_soup_of_a_sweep_is_shown_beside_the_jobs_and_is_none_of_them(
    training: Path, tmp_path: Path
) -> None:
    of_sweep = tmp_path / "sweep.json"
    of_sweep.write_text(json.dumps({"uri": "sqlite:///a.db", "run_id": "1", "swept": ["seed"]}))
    cfg = settings("sqlite:///a.db", "task=soup", f"checkpoint={tmp_path}")
    tags = lineage_tags(cfg)
    assert tags == {TRAINED_BY_TAG: "1", PARENT_TAG: "1"} and not is_job(tags)
    of_sweep.write_text(json.dumps({"run_id": None, "swept": ["seed"]}))  # the store failed
    assert lineage_tags(cfg) == {}


def test_a_soup_names_the_runs_that_it_is_made_of(training: Path, tmp_path: Path) -> None:
    found = ingredient_tags([training, tmp_path / "untracked", training])
    assert found == {INGREDIENTS_TAG: "7 untracked"}
    many = ingredient_tags([tmp_path / f"{number:0200}" for number in range(100)])
    assert 3500 < len(many[INGREDIENTS_TAG]) < 4001


def test_what_was_never_tracked_has_no_training(training: Path, tmp_path: Path) -> None:
    assert find_training(str(tmp_path)) is None
    assert find_training(str(training / "weights.safetensors")) is None
    assert find_training("s3://bucket/checkpoints/best.safetensors") is None
    cfg = settings("sqlite:///a.db", f"model.pretrained={training}")
    assert lineage_tags(cfg) == {}


def test_an_evaluation_below_its_training_is_no_job_of_a_sweep() -> None:
    assert is_job({PARENT_TAG: "sweep"})
    assert is_job({PARENT_TAG: "sweep", TRAINED_BY_TAG: "7"})  # a sweep of evaluations
    assert not is_job({PARENT_TAG: "7", TRAINED_BY_TAG: "7"})
    assert not is_job({})


def test_a_sweep_is_its_jobs_and_a_training_with_an_evaluation_is_itself(
    store: str, tmp_path: Path
) -> None:
    client, experiment = open_experiment(store, "beit")
    sweep = client.create_run(experiment, run_name="sweep").info.run_id
    job = tmp_path / "job"

    def track(run_dir: Path, *overrides: str) -> str:
        cfg = settings(store, f"tracking.run_name={run_dir.name}", *overrides)
        save_config(cfg, run_dir / "config.yaml")
        with open_tracker(cfg, run_dir) as tracker:
            tracker.log({"val/top1": 50.0}, step=1, epoch=1)
        return json.loads((run_dir / "mlflow.json").read_text())["run_id"]

    job_id = track(job, f"+tracking.tags={{{PARENT_TAG}: {sweep}}}")
    evaluation = track(tmp_path / "evaluation", "task=evaluate", f"checkpoint={job}")
    tags = client.get_run(evaluation).data.tags
    assert (tags[PARENT_TAG], tags[TRAINED_BY_TAG]) == (job_id, job_id)
    assert [run.name for run in read_store(store, sweep)] == ["job"]
    assert [run.name for run in read_store(store, job_id)] == ["job"]
    assert [run.name for run in read_store(store, evaluation)] == ["evaluation"]
    assert sorted(run.name for run in read_store(store, "beit")) == ["evaluation", "job"]
