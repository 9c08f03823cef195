from __future__ import annotations

from pathlib import Path

import pytest
from settings import make_config
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.dry_run.settings import few_steps
from beit_exp.dry_run.tokenizer import (
    lacks_teacher,
    lacks_tokenizer,
    make_teacher,
    make_tokenizer,
)
from beit_exp.weights.teacher import load_teacher
from beit_exp.weights.tokenizer import load_tokenizer


def pretraining(weights: Path) -> Config:
    return make_config(
        "experiment=pretrain_digits", "hardware=ascend", f"tokenizer.weights={weights}"
    )


@pytest.mark.usefixtures("compiled")
def test_a_tokenizer_that_is_not_there_is_one_of_random_weights(tmp_path: Path) -> None:
    cfg = few_steps(pretraining(tmp_path / "none.pth"), tmp_path)
    assert cfg.tokenizer.weights is not None and lacks_tokenizer(cfg)
    make_tokenizer(cfg, Path(cfg.tokenizer.weights))
    assert not lacks_tokenizer(cfg)
    weights = cfg.tokenizer.weights
    assert load_tokenizer(cfg.tokenizer, cfg.model, weights, precision=FLOAT32).decoder is None


@pytest.mark.usefixtures("compiled")
def test_a_teacher_that_is_not_there_is_one_of_the_encoders_shape(tmp_path: Path) -> None:
    words = ("tokenizer.teacher=none.pth", "task=train_tokenizer", "objective=val/loss")
    cfg = few_steps(
        make_config(
            "tokenizer=vqkd_small",
            "hardware=ascend",
            "hardware.amp_level=O0",
            "hardware.is_dynamic_loss_scale=false",
            "hardware.loss_scale=1.0",
            "augment=pretrain",
            *words,
        ),
        tmp_path,
    )
    assert lacks_teacher(cfg)
    make_teacher(cfg, Path(str(cfg.tokenizer.teacher)))
    assert not lacks_teacher(cfg)
    teacher = load_teacher(cfg.tokenizer, cfg.model, precision=FLOAT32)
    assert teacher.width == cfg.tokenizer.embed_dim


@pytest.mark.usefixtures("compiled")
def test_an_encoder_of_codes_that_is_not_there_is_one_of_random_weights(tmp_path: Path) -> None:
    weights = f"tokenizer.weights={tmp_path / 'none.pth'}"
    words = ("experiment=pretrain_digits_v2", "hardware=ascend", weights)
    cfg = few_steps(make_config(*words), tmp_path)
    path = Path(str(cfg.tokenizer.weights))
    make_tokenizer(cfg, path)
    load_tokenizer(cfg.tokenizer, cfg.model, str(path), precision=FLOAT32)


def test_a_tokenizer_that_is_there_stays_the_runs(tmp_path: Path) -> None:
    weights = tmp_path / "dalle.pth"
    weights.touch()
    assert few_steps(pretraining(weights), tmp_path).tokenizer.weights == str(weights)
    assert not lacks_tokenizer(make_config())
