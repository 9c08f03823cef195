"""What features can be made of, and what not."""

from __future__ import annotations

import pytest
from settings import compose

from beit_exp.config.feature_rules import are_blocks
from beit_exp.config.mapping import build_config
from beit_exp.errors import UserError

FEATURES = ("task=features", "checkpoint=x")
PROBE = ("task=probe", "checkpoint=x")
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
