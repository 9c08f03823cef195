from __future__ import annotations

import json
import shlex
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf
from settings import ROOT
from whole_runs import write_run

from beit_exp.launch import sweep
from beit_exp.tracking.records import SWEEP_FILE


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    state = {
        "uri": "sqlite:///x.db",
        "run_id": "7",
        "swept": ["optimizer.base_lr", "augment", "dataset.data_url"],
    }
    (tmp_path / SWEEP_FILE).write_text(json.dumps(state))
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["train.epochs=3", "optimizer.base_lr=3e-5"], "optimizer.base_lr=3e-05"),
        (
            ["optimizer.base_lr=0.0013292918943162165", "augment=none"],
            "augment=none,optimizer.base_lr=0.00132929",
        ),
        (["dataset.data_url=/data/a"], "dataset.data_url=_data_a"),
        (["seed=1"], "job"),
    ],
)
def test_a_job_is_named_by_what_tells_it_from_the_others(
    sweep_dir: Path, overrides: list[str], name: str
) -> None:
    assert sweep.job_folder(sweep.swept_values(sweep_dir, overrides)) == name


def test_a_job_hangs_under_the_sweeps_run_and_keeps_the_name_it_was_given(sweep_dir: Path) -> None:
    values = {"tracking": {"run_name": None, "tags": {"team": "a"}}, "seed": 1}
    sweep.place_under_parent(values, sweep_dir, swept={"seed": "1"})
    assert values["tracking"] == {
        "run_name": "seed=1",
        "tags": {"team": "a", "mlflow.parentRunId": "7"},
    }
    values["tracking"]["run_name"] = "mine"
    sweep.place_under_parent(values, sweep_dir, swept={"seed": "2"})
    assert values["tracking"]["run_name"] == "mine"


def test_the_choice_of_a_swept_group_is_a_tag(sweep_dir: Path) -> None:
    values = {"tracking": {"run_name": None, "tags": {}}, "augment": {"hflip": 0.5}}
    swept = {"augment": "light", "experiment": "mine", "optimizer.base_lr": "1e-3"}
    sweep.place_under_parent(values, sweep_dir, swept=swept)
    expected = {"augment": "light", "experiment": "mine", "mlflow.parentRunId": "7"}
    assert values["tracking"]["tags"] == expected


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


def multirun(*task: str, params: dict | None = None, sweep_dir: str = "sweep", **sweeper):
    """What a sweep's callback is given of Hydra's own settings."""
    own = {"overrides": {"task": list(task), "hydra": ["hydra.mode=MULTIRUN"]}}
    own |= {"sweeper": {"params": params, **sweeper}, "sweep": {"dir": sweep_dir}}
    return OmegaConf.create({"hydra": own, "tracking": {"uri": "sqlite:////here.db"}})


@pytest.fixture
def _composing():
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.mark.usefixtures("_composing")
@pytest.mark.parametrize(
    ("task", "params", "trials", "jobs"),
    [
        (["seed=1,2,3", "train.epochs=3"], {}, {}, 3),
        (["seed=range(4)", "augment=light,none"], {}, {}, 8),
        ([], {"optimizer.layer_decay": "0.65,0.75"}, {}, 2),
        ([], {"optimizer.base_lr": "interval(1e-5, 1e-3)"}, {"n_trials": 20}, 20),
    ],
)
def test_a_sweep_knows_how_many_jobs_it_has(
    task: list[str], params: dict, trials: dict, jobs: int
) -> None:
    assert sweep.count_jobs(multirun(*task, params=params, **trials)) == jobs


def test_a_sweep_that_stopped_tells_what_is_done_and_what_does_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "a b=(数据)"
    config = multirun("seed=1,2,3", "dataset.data_url='x y'", sweep_dir=str(folder))
    (folder / "seed=1").mkdir(parents=True)
    (folder / "seed=1" / "metrics.json").write_text("{}")
    state = {"swept": ["seed"], "jobs": sweep.count_jobs(config)}
    state["command"] = sweep.command_of(config)
    (folder / SWEEP_FILE).write_text(json.dumps(state))
    told, _, command = sweep.what_is_left(folder).partition(": ")
    assert told == "1 of 3 jobs are done; to do the rest"
    assert shlex.split(command)[2:] == [
        "-m",
        "seed=1,2,3",
        "dataset.data_url='x y'",
        f'hydra.sweep.dir="{folder}"',
        "tracking.uri=sqlite:////here.db",
    ]


@pytest.mark.parametrize("name", ["facts.json", "mlflow.json", "config.yaml"])
def test_a_damaged_file_of_a_job_costs_the_sweep_its_report_and_is_named(
    name: str, tmp_path: Path, capsys
) -> None:
    state = {"run_id": None, "uri": "sqlite:///none.db", "swept": []}
    (tmp_path / "sweep.json").write_text(json.dumps(state))
    write_run(tmp_path / "seed=1", top1=())
    (tmp_path / "seed=1" / name).write_bytes(b"\xffjunk{")
    sweep.finish(tmp_path, "FINISHED")
    said = capsys.readouterr().err
    assert said.startswith("the sweep has no report: ") and name in said


@pytest.mark.parametrize("content", [b"\xffjunk{", b"[1]", b"{}", b""])
def test_a_sweep_whose_own_file_is_damaged_gets_another_parent(
    content: bytes, tmp_path: Path, capsys
) -> None:
    assert sweep.known_run_id(tmp_path) is None and capsys.readouterr().out == ""
    (tmp_path / "sweep.json").write_bytes(content)
    assert sweep.known_run_id(tmp_path) is None
    assert "sweep.json is damaged" in capsys.readouterr().out
