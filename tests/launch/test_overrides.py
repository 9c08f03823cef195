from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from settings import ROOT, compose, make_config

from beit_exp.config.mapping import build_config, differences, save_config
from beit_exp.errors import UserError
from beit_exp.launch import overrides
from beit_exp.launch.arguments import hydra_arguments, parse_arguments
from beit_exp.launch.overrides import PLUGINS, adopt_run, check_overrides

NODES = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_NODEID": "0",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize("choice", list(PLUGINS))
def test_a_missing_plugin_is_named_with_its_installation(choice: str, monkeypatch) -> None:
    monkeypatch.setattr(overrides, "find_spec", lambda _: None)
    extra = PLUGINS[choice][1]
    with pytest.raises(UserError) as caught:
        check_overrides(parse_arguments([choice]))
    assert f"{choice} needs another package: pip install 'beit-exp[{extra}]'" == str(caught.value)
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


def test_a_run_that_is_adopted_hands_on_its_tags_but_not_the_sweep_it_belongs_to(
    tmp_path: Path,
) -> None:
    of_sweep = "+tracking.tags={team: a, mlflow.parentRunId: sweep}"
    save_config(make_config(of_sweep, "tracking.run_name=x"), tmp_path / "config.yaml")
    typed = ["task=evaluate", f"checkpoint={tmp_path}"]
    values = adopt_run(OmegaConf.create(compose(*typed)), typed)
    assert values["task"] == "evaluate"
    assert (values["tracking"]["run_name"], values["tracking"]["tags"]) == (None, {"team": "a"})


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "optimizer=adamw,momentum"),
        ("-m", "augment=light,none"),
        ("-m", "scheduler=cosine,constant", "optimizer=adamw,momentum"),
        ("-m", "optimizer=glob(*)"),
        ("-m", "tracking.tags.site=a,b"),
        ("-m", "seed=range(1,4)", "optimizer.base_lr=choice(1e-3,2e-3)"),
        ("-m", "seed=1,2", "hydra/launcher=joblib"),
        ("-m", "optimizer.weight_decay=${optimizer.eps},0.1"),
        ("sweep=base_lr",),
        ("sweep=optuna",),
        ("hydra.mode=MULTIRUN", "seed=1,2"),
        ("~sweep",),
        ("++train.epochs=3",),
        ("train={epochs: 3, batch_size: 8}",),
        ("hydra.job.name=x", "hydra.verbose=true"),
        ("-sc", "install=bash"),
        ("--cfg", "job", "dataset=image_folder"),
    ],
    ids=" ".join,
)
def test_what_hydra_can_do_is_let_through(words: tuple[str, ...], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_overrides(parse_arguments(hydra_arguments(list(words))))


def test_what_was_typed_lies_over_the_settings_of_a_run(tmp_path: Path) -> None:
    save_config(make_config("train.epochs=7", "seed=5"), tmp_path / "config.yaml")
    typed = ["task=evaluate", f"checkpoint={tmp_path}", "seed=6", "++tracking.tags.site=lab"]
    typed += ["++tokenizer.training.train.epochs=3", "sweep=base_lr", "~tracking.experiment"]
    adopted = adopt_run(OmegaConf.create(compose(*typed)), typed)
    assert (adopted["train"]["epochs"], adopted["seed"]) == (7, 6)
    assert adopted["tracking"]["tags"] == {"site": "lab"}
    assert adopted["tokenizer"]["training"] == {"train": {"epochs": 3}}
    assert "experiment" not in adopted["tracking"] and "sweep" not in adopted


@pytest.mark.parametrize(
    ("typed", "changed"),
    [
        ((), set()),
        (("train.epochs=80",), {"train.epochs"}),
        (("allow_changes=[seed]",), {"allow_changes"}),
        (("model=beit_micro",), {"model.depth"}),
        (("~tracking.tags.team",), {"tracking.tags"}),
    ],
)
def test_a_run_directory_gives_the_settings_and_what_was_typed_lies_over_them(
    typed: tuple[str, ...], changed: set[str], tmp_path: Path
) -> None:
    run = make_config("augment=finetune_mixup", "model.depth=3", "+tracking.tags.team=a", "seed=5")
    save_config(run, tmp_path / "config.yaml")
    raw = OmegaConf.create(compose(*(word for word in typed if not word.startswith("~"))))
    found = build_config(adopt_run(raw, list(typed), run_dir=tmp_path))
    assert differences(run, found).keys() == changed


def test_an_experiment_is_not_laid_over_another_run(tmp_path: Path) -> None:
    save_config(make_config("seed=5"), tmp_path / "config.yaml")
    raw = OmegaConf.create(compose("experiment=few_digits"))
    assert adopt_run(raw, ["experiment=few_digits"], run_dir=tmp_path)["seed"] == raw.seed


@pytest.mark.parametrize(
    ("environment", "words", "said"),
    [
        (NODES, ("-m", "seed=1,2"), "a sweep is started once, but NNODES started 2 processes"),
        (NODES, ("sweep=layer_decay", "hydra.run.dir=run"), "a sweep is started once"),
        (NODES, ("seed=1",), "hydra.run.dir: must be given on several nodes, the same on each"),
        (NODES, ("hydra.run.dir=run",), None),
        (STEP, ("seed=1",), None),
        (STEP, ("-m", "seed=1,2"), "but Slurm started 2 processes: start it outside of srun"),
    ],
)
def test_what_cannot_be_on_several_nodes_is_refused(
    environment: dict[str, str], words: tuple[str, ...], said: str | None, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    typed = parse_arguments(hydra_arguments(list(words)))
    if said is None:
        check_overrides(typed)
        return
    with pytest.raises(UserError, match=re.escape(said)):
        check_overrides(typed)
