"""A sweep's parts: the names of its jobs, their share of the machine, what a search must not be
told.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import ROOT, make_config
from omegaconf import OmegaConf

from beit_exp.hardware import cores
from beit_exp.hardware.cores import CARDS, own_cores, share_of_machine
from beit_exp.launch import job, overrides, sweep
from beit_exp.launch.overrides import PLUGINS, check_overrides
from beit_exp.launch.run_directory import last_error


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


def test_jobs_at_once_have_cores_and_cards_of_their_own(tmp_path: Path, monkeypatch) -> None:
    pinned: list[set[int]] = []
    monkeypatch.setattr(cores, "own_cores", lambda: [0, 1, 2, 3, 4])
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, mine: pinned.append(set(mine)), raising=False
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setenv(CARDS, "4,5,6,7")
    with share_of_machine(tmp_path, jobs=2, device_num=2):
        first = os.environ[CARDS]
        os.environ[CARDS] = "4,5,6,7"  # as another process finds it
        with share_of_machine(tmp_path, jobs=2, device_num=2):
            second = os.environ[CARDS]
            with (
                pytest.raises(RuntimeError, match="more than 2 jobs"),
                share_of_machine(tmp_path, jobs=2, device_num=2),
            ):
                pass
    assert (first, second, os.environ[CARDS]) == ("4,5", "6,7", "4,5,6,7")
    assert pinned == [{0, 2, 4}, {1, 3}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}]


def test_a_job_alone_keeps_the_whole_machine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(CARDS, raising=False)
    before = own_cores()
    with share_of_machine(tmp_path, jobs=1, device_num=1):
        assert own_cores() == before and CARDS not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_more_jobs_than_cores_share_them(tmp_path: Path, monkeypatch) -> None:
    pinned: list[list[int]] = []
    monkeypatch.setattr(cores, "own_cores", lambda: [3])
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, mine: pinned.append(list(mine)), raising=False
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    with (
        share_of_machine(tmp_path, jobs=2, device_num=1),
        share_of_machine(tmp_path, jobs=2, device_num=1),
    ):
        assert pinned == [[3], [3]]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "50.0"])
@pytest.mark.parametrize(("objective", "worst"), [("val/top1", 0.0), ("val/loss", 1e6)])
def test_a_search_is_given_a_finite_number(
    tmp_path: Path, value: str, objective: str, worst: float
) -> None:
    (tmp_path / "metrics.json").write_text(f'{{"{objective}": {value}}}')
    found = job.objective(make_config(f"objective={objective}"), tmp_path)
    assert found == (50.0 if value == "50.0" else worst)


@pytest.mark.parametrize("choice", list(PLUGINS))
def test_a_missing_plugin_is_named_with_its_installation(choice: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(overrides, "find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        check_overrides([choice])
    extra = PLUGINS[choice][1]
    assert (
        f"{choice} needs another package: pip install -c .ci/constraints.txt -e '.[{extra}]'"
        in capsys.readouterr().err
    )
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


def test_the_last_error_of_a_log_is_what_a_failed_job_says(tmp_path: Path) -> None:
    lines = [
        "12:00 INFO a: x",
        "12:01 ERROR beit_exp.worker: the first",
        "12:02 ERROR beit_exp.worker: key: value",
    ]
    (tmp_path / "launch.log").write_text("\n".join(lines))
    assert last_error(tmp_path) == "key: value"
    assert last_error(tmp_path / "nowhere") is None
