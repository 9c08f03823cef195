from __future__ import annotations

import pytest
from settings import compose

from beit_exp.config.complaints import nearest
from beit_exp.config.mapping import build_config
from beit_exp.config.schema import known_names
from beit_exp.errors import UserError

WRONG = {  # overrides -> what the message must say
    ("optimizer.name=adam",): "one of adamw, adam_weight_decay, momentum. Did you mean adamw?",
    ("optimizer.name='a :b'",): "optimizer.name = 'a :b': must be one of",
    ("+model.dpeth=3",): "model.dpeth: there is no such setting. Did you mean model.depth?",
}


@pytest.mark.parametrize("overrides", WRONG, ids=" ".join)
def test_wrong_setting_is_named_with_what_is_allowed(overrides: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        build_config(compose(*overrides))
    assert WRONG[overrides] in str(caught.value)


MEANT = {  # what was typed -> the setting that was meant
    "modle": "model",
    "sed": "seed",
    "experimnt": "experiment",
    "epochs": "train.epochs",
    "trian.epochs": "train.epochs",
    "train.epoch": "train.epochs",
    "train.batchsize": "train.batch_size",
    "train.base_lr": "optimizer.base_lr",
    "train.seed": "seed",
    "train.ema": "train.ema_decay",
    "lr": "optimizer.base_lr",
    "optimizer.lr": "optimizer.base_lr",
    "optimizer.lrr": "optimizer.base_lr",
    "optimizer.betas": "optimizer.beta",
    "optimiser.name": "optimizer.name",
    "augment.mixup": "augment.mix_up",
    "augment.flip": "augment.hflip",
    "augment.colour_jitter": "augment.color_jitter",
    "model.num_classes": "dataset.num_classes",
    "hardware.workers": "hardware.num_parallel_workers",
    "tracking.name": "tracking.run_name",
}
FOREIGN = (  # settings of other programs: any name of ours would mislead
    "train.early_stopping",
    "train.resume",
    "train.loss",
    "train.sync_bn",
    "train.bs",
    "optimizer.learning_rate",
    "dataset.path",
    "dataset.root",
    "augment.rotation",
    "model.dropout",
    "model.layers",
    "model.name",
    "hardware.gpus",
    "wandb.project",
    "foo",
)


@pytest.mark.parametrize("typed", MEANT)
def test_a_misspelt_setting_gets_a_hint(typed: str) -> None:
    assert nearest(typed, [*known_names(), "experiment"]) == f" Did you mean {MEANT[typed]}?"


@pytest.mark.parametrize("typed", FOREIGN)
def test_a_setting_that_is_like_none_gets_no_hint(typed: str) -> None:
    assert nearest(typed, [*known_names(), "experiment"]) == ""


def test_an_unknown_key_is_named_whole() -> None:
    with pytest.raises(UserError, match=r"train\.a\[1\]: there is no such setting"):
        build_config(compose() | {"train": compose()["train"] | {"a[1]": 1}})
