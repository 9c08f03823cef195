from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from beit_exp.config.schema import setting_names
from beit_exp.errors import UserError
from beit_exp.launch.composition import CONF
from beit_exp.launch.described import ROOT, describe_groups, pick

GROUPS = describe_groups()
SETTINGS = {setting.key: setting for group in GROUPS for setting in group.settings}


def test_every_setting_has_a_meaning() -> None:
    assert set(SETTINGS) == set(setting_names())
    assert [key for key, setting in SETTINGS.items() if len(setting.meaning) < 10] == []


def test_every_group_says_what_it_settles_and_shows_a_command() -> None:
    assert GROUPS[0].name == ROOT
    assert [group.name for group in GROUPS[1:] if not (group.told and group.command)] == []


def test_every_option_says_what_it_is() -> None:
    unsaid = [
        f"{group.name}={option.name}"
        for group in GROUPS
        for option in group.options
        if option.told.startswith(tuple(f"{key} " for key, _ in option.values))
    ]
    assert unsaid == []


def test_range_and_default_are_those_of_schema_and_file() -> None:
    decay, rate, name = (SETTINGS[f"optimizer.{key}"] for key in ("layer_decay", "base_lr", "name"))
    assert (decay.allowed, decay.default) == ("a number > 0 and <= 1 or auto", "1.0")
    assert (rate.allowed, rate.default) == ("a number > 0 or auto", None)
    assert name.allowed == "one of adamw, adam_weight_decay, momentum"


def test_a_name_picks_a_group_a_setting_or_all_that_begin_so() -> None:
    def picked(name: str) -> list[str]:
        return [setting.key for group in pick(GROUPS, name) for setting in group.settings]

    assert picked("dataset.fold") == ["dataset.fold"]
    assert picked("dataset.fo") == ["dataset.folds", "dataset.fold"]
    assert len(picked("mask")) == 6 and picked("seed") == ["seed"]
    assert picked("experiment") == [] and pick(GROUPS, "experiment")[0].options
    assert pick(GROUPS, "nothing") == []


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def test_a_group_of_ones_own_comes_last_and_other_folders_are_none(copied: Path) -> None:
    (copied / ".ipynb_checkpoints").mkdir()
    (copied / "machine").mkdir()
    (copied / "machine" / "mine.yaml").write_text("# Ours.\nseed: 1\n")
    *others, last = describe_groups(copied)
    assert [group.name for group in others] == [group.name for group in GROUPS]
    assert (last.name, last.options[0].told, last.default) == ("machine", "Ours", None)


@pytest.mark.parametrize("text", ["# Mine.\nseed: [1\n", "- seed\n", "seed\n"])
def test_an_option_that_holds_no_settings_is_named(text: str, copied: Path) -> None:
    (copied / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"experiment/mine.yaml is refused: "):
        describe_groups(copied)
