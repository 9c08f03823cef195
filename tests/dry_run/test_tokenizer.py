from __future__ import annotations

from pathlib import Path

import pytest
from settings import make_config
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.dry_run.settings import few_steps
from beit_exp.dry_run.tokenizer import lacks_tokenizer, make_tokenizer
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


def test_a_tokenizer_that_is_there_stays_the_runs(tmp_path: Path) -> None:
    weights = tmp_path / "dalle.pth"
    weights.touch()
    assert few_steps(pretraining(weights), tmp_path).tokenizer.weights == str(weights)
    assert not lacks_tokenizer(make_config())
