from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from settings import ROOT, compose, make_config

from beit_exp.config.mapping import build_config, differences, save_config
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
