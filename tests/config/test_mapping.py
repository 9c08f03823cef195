from __future__ import annotations

import pytest
from settings import make_config

from beit_exp.config.mapping import (
    WrongSettingsError,
    differences,
    flatten,
    load_config,
    save_config,
)
from beit_exp.config.schema import setting_names


def test_saved_configuration_loads_as_the_same_value(tmp_path) -> None:
    cfg = make_config("optimizer.base_lr=3e-5", "train.ema_decay=0.999", "augment=finetune_mixup")
    save_config(cfg, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == cfg


def test_differences_name_the_full_key_and_both_values() -> None:
    found = differences(make_config(), make_config("optimizer.layer_decay=0.75"))
    assert found == {"optimizer.layer_decay": (1.0, 0.75)}


def test_flattened_configuration_has_every_key() -> None:
    assert list(flatten(make_config())) == list(setting_names())


def test_all_wrong_settings_are_reported_at_once() -> None:
    with pytest.raises(WrongSettingsError) as caught:
        make_config("train.epochs=0", "model.image_size=33", "optimizer.eps=x", "seed=-1")
    assert [problem.split(" ")[0] for problem in caught.value.problems] == [
        "model.image_size",
        "optimizer.eps",
        "seed",
        "train.epochs",
    ]


@pytest.mark.parametrize(
    "key",
    [
        "tracking.uri",
        "tracking.run_name",
        "train.checkpoint_url",
        "dataset.data_url",
        "model.pretrained",
        "checkpoint",
        "tokenizer.weights",
    ],
)
def test_no_setting_holds_a_password(key: str) -> None:
    with pytest.raises(WrongSettingsError) as caught:
        make_config(f"{key}='s3://key:pa55/word@bucket'")
    (problem,) = caught.value.problems
    assert problem.startswith(f"{key} = 's3://key:***@bucket': must hold no password")
    assert "pa55" not in str(caught.value)


def test_an_address_whose_password_is_hidden_is_a_setting(tmp_path) -> None:
    cfg = make_config("tracking.uri='postgresql://me:***@host/db'")
    save_config(cfg, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").tracking.uri == "postgresql://me:***@host/db"
