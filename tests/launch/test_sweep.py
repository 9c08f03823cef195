from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from beit_exp.launch import sweep


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    state = {
        "uri": "sqlite:///x.db",
        "run_id": "7",
        "swept": ["optimizer.base_lr", "augment", "dataset.data_url"],
    }
    (tmp_path / sweep.PARENT_FILE).write_text(json.dumps(state))
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["train.epochs=3", "optimizer.base_lr=3e-5"], "optimizer.base_lr=3e-05"),
        (
            ["optimizer.base_lr=0.0013292918943162165", "augment=none"],
            "optimizer.base_lr=0.00132929,augment=none",
        ),
        (["dataset.data_url=/data/a"], "dataset.data_url=_data_a"),
        (["seed=1"], "job"),
    ],
)
def test_a_job_is_named_by_what_tells_it_from_the_others(
    sweep_dir: Path, overrides: list[str], name: str
) -> None:
    assert sweep.job_name(sweep_dir, overrides) == name


def test_a_job_hangs_under_the_sweeps_run_and_keeps_the_name_it_was_given(sweep_dir: Path) -> None:
    values = {"tracking": {"run_name": None, "tags": {"team": "a"}}}
    sweep.place_under_parent(values, sweep_dir, name="seed=1")
    assert values["tracking"] == {
        "run_name": "seed=1",
        "tags": {"team": "a", "mlflow.parentRunId": "7"},
    }
    values["tracking"]["run_name"] = "mine"
    sweep.place_under_parent(values, sweep_dir, name="seed=2")
    assert values["tracking"]["run_name"] == "mine"


@pytest.mark.parametrize(
    ("task", "params", "swept"),
    [
        (["seed=1,2", "train.epochs=3"], {}, ["seed"]),
        (["train.epochs=3"], {"optimizer.layer_decay": "0.65,0.75"}, ["optimizer.layer_decay"]),
        (["seed=range(3)"], {"seed": "1,2"}, ["seed"]),
    ],
)
def test_swept_settings_are_those_with_several_values(
    task: list[str], params: dict, swept: list[str]
) -> None:
    config = OmegaConf.create(
        {"hydra": {"overrides": {"task": task}, "sweeper": {"params": params}}}
    )
    assert sweep.swept_keys(config) == swept


@pytest.mark.parametrize(
    ("objective", "right"), [("val/top1", "maximize"), ("val/loss", "minimize")]
)
def test_a_search_for_the_worst_is_refused(objective: str, right: str, capsys) -> None:
    wrong = {"maximize": "minimize", "minimize": "maximize"}[right]
    for direction in (right, wrong):
        config = OmegaConf.create(
            {"objective": objective, "hydra": {"sweeper": {"direction": direction}}}
        )
        if direction == right:
            sweep.check_direction(config)
        else:
            with pytest.raises(SystemExit):
                sweep.check_direction(config)
    assert f"must be {right} for objective={objective}" in capsys.readouterr().err
