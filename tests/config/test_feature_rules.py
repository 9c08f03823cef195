"""What features can be made of, and what not."""

from __future__ import annotations

import pytest
from settings import compose

from beit_exp.config.feature_rules import are_blocks
from beit_exp.config.mapping import build_config
from beit_exp.errors import UserError

FEATURES = ("task=features", "checkpoint=x")
PROBE = ("task=probe", "checkpoint=x")
DIGITS = ("experiment=pretrain_digits",)
WRONG = {  # overrides -> what the message must say
    (*FEATURES, "features.blocks=[4]"): "features.blocks = [4]: must be numbers of different blo",
    (
        *FEATURES,
        "features.blocks=[-5]",
    ): "from 0 to model.depth - 1 or from -model.depth to -1",
    (*FEATURES, "features.blocks=[3,-1]"): "features.blocks = [3, -1]: must be numbers of differe",
    (*FEATURES, "features.blocks=[]"): "features.blocks = []: must be a list",
    (*FEATURES, "features.pooling=max"): "must be one of cls, mean, both, attention, tokens",
    (*PROBE, "features.pooling=tokens"): "must be cls, mean, both or attention but for task=feat",
    (*PROBE, "probe.blocks=[0,4]"): "probe.blocks = [0, 4]: must be all, or numbers of different",
    (*PROBE, "probe.blocks=some"): "probe.blocks = 'some': must be all or a list",
    (*PROBE, "probe.neighbours=[10,10]"): "probe.neighbours = [10, 10]: must hold no value twice",
    (*PROBE, "probe.held_out=1"): "probe.held_out = 1: must be a number > 0 and < 1",
    (*PROBE, "probe.few_shot_draws=1"): "probe.few_shot_draws = 1: must be a whole number >= 2",
    (*PROBE, "probe.temperature=0"): "probe.temperature = 0: must be a number > 0",
    (*PROBE, "images=x"): "images = 'x': belongs to task=predict, task=explain and task=features",
    ("probe.every_epochs=1",): "probe.every_epochs = 1: must be null for task=finetune",
    (*DIGITS, "probe.every_epochs=15"): "probe.every_epochs = 15: must be null or a multiple of",
    (*DIGITS, "objective=val/knn_top1", "probe.every_epochs=null"): "must be train.eval_every_epo",
    (*DIGITS, "objective=val/knn_top1", "probe.every_epochs=20"): "where the objective is val/knn",
    (
        *DIGITS,
        "features.blocks=[0,1]",
    ): "features.blocks = [0, 1]: must be one block for task=",
    (*DIGITS, "features.pooling=tokens"): "must be cls, mean, both or attention but for",
    ("objective=val/knn_top1",): "objective = 'val/knn_top1': must be one that the task measures",
    ("task=probe",): "checkpoint = null: must name a run directory or a weights file",
    ("task=features",): "checkpoint = null: must name a run directory or a weights file",
}


@pytest.mark.parametrize("overrides", WRONG, ids=" ".join)
def test_wrong_settings_of_features_are_named(overrides: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        build_config(compose(*overrides))
    assert WRONG[overrides] in str(caught.value)


def test_blocks_are_counted_from_both_ends_and_named_once() -> None:
    assert are_blocks([0, 3, -2], 4) and are_blocks([-4], 4)
    assert not are_blocks([4], 4) and not are_blocks([-5], 4) and not are_blocks([1, -3], 4)


def test_a_pretraining_may_be_judged_by_its_neighbours() -> None:
    cfg = build_config(compose(*DIGITS, "objective=val/knn_top1"))
    assert cfg.probe.every_epochs == cfg.train.eval_every_epochs == 10
    assert build_config(compose(*DIGITS, "probe.every_epochs=null")).probe.every_epochs is None
