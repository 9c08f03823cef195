from __future__ import annotations

import pytest
from settings import make_config, pretraining

from beit_exp.errors import UserError
from beit_exp.launch.tokenizer_first import tokenizer_run


def test_the_tokenizers_run_has_the_runs_settings_but_for_its_own(few_digits, tmp_path) -> None:
    own = ("hardware.amp_level=O1", "optimizer.layer_decay=0.9", "optimizer.lr_base_size=2048")
    cfg = pretraining(few_digits, *own, "seed=3")
    run = tokenizer_run(cfg, tmp_path / "run")
    assert (run.task, run.objective, run.hardware.amp_level) == (
        "train_tokenizer",
        "val/loss",
        "O0",
    )
    assert (run.seed, run.dataset, run.tokenizer.vocabulary) == (3, cfg.dataset, 16)
    assert run.optimizer.base_lr == cfg.tokenizer.training["optimizer"]["base_lr"]
    assert run.optimizer.lr_base_size is None  # it was said of the pre-training's rate
    assert run.tracking.run_name == "tokenizer run"


def test_the_tokenizer_of_a_network_whose_class_token_predicts_is_trained_first(
    few_digits, tmp_path
) -> None:
    head = ("mask.early_block=1", "mask.head_blocks=2", "mask.shared_lm_head=false")
    run = tokenizer_run(pretraining(few_digits, *head), tmp_path / "run")
    assert run.task == "train_tokenizer"


def test_the_run_of_a_tokenizer_with_codes_has_no_class_token_head_and_no_averages(
    tmp_path,
) -> None:
    words = ("tokenizer.teacher=x", "train.ema_decay=0.9", "mask.shared_lm_head=false")
    cfg = make_config("experiment=pretrain_digits_v2", *words)
    run = tokenizer_run(cfg, tmp_path / "run")
    assert cfg.mask.early_block is not None and run.mask.early_block is None
    assert run.train.ema_decay is None and run.tokenizer.teacher == "x"
    assert run.train.accumulate_steps == cfg.train.accumulate_steps


def test_wrong_settings_of_the_tokenizers_run_are_named(few_digits, tmp_path) -> None:
    cfg = pretraining(few_digits, "+tokenizer.training.optimizer.lrr=1")
    with pytest.raises(
        UserError, match=r"tokenizer\.training.*\n.*optimizer\.lrr: there is no such setting"
    ):
        tokenizer_run(cfg, tmp_path / "run")
