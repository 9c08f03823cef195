from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from settings import ROOT, compose, make_config

from beit_exp.config.mapping import save_config
from beit_exp.launch import overrides
from beit_exp.launch.overrides import PLUGINS, adopt_run, check_overrides


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


def test_a_run_that_is_adopted_hands_on_its_tags_but_not_the_sweep_it_belongs_to(
    tmp_path: Path,
) -> None:
    of_sweep = "+tracking.tags={team: a, mlflow.parentRunId: sweep}"
    save_config(make_config(of_sweep, "tracking.run_name=x"), tmp_path / "config.yaml")
    typed = ["task=evaluate", f"checkpoint={tmp_path}"]
    values = adopt_run(OmegaConf.create(compose(*typed)), typed)
    assert values["task"] == "evaluate"
    assert (values["tracking"]["run_name"], values["tracking"]["tags"]) == (None, {"team": "a"})
