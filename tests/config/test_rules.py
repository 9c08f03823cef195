from __future__ import annotations

import pytest
from settings import compose, make_config

from beit_exp.config.mapping import WrongSettingsError, build_config
from beit_exp.errors import UserError

WRONG = {  # overrides -> what the message must say
    (
        "model.image_size=33",
    ): "model.image_size = 33: must be a multiple of model.patch_size (here model.patch_size = 8)",
    ("model.embed_dim=130",): "model.embed_dim = 130: must be a multiple of model.num_heads",
    ("model.shared_rel_pos_bias=true",): "one of the two may be true",
    ("dataset.num_classes=11",): "dataset.num_classes = 11: must be 10 for dataset.name=digits",
    ("augment.mix_up=0.8", "train.batch_size=63"): "train.batch_size = 63: must be even",
    ("augment.cutmix_minmax=[0.2,0.8]",): "needs augment.cutmix > 0",
    (
        "augment.crop_scale=[0.5,0.1]",
    ): "augment.crop_scale = [0.5, 0.1]: must be two shares of the area, rising",
    (
        "scheduler.warmup_length=40",
    ): "scheduler.warmup_length = 40: plus scheduler.cooldown_epochs must be less",
    ("scheduler.min_lr=1",): "scheduler.min_lr = 1: must be at most optimizer.base_lr",
    (
        "scheduler=multistep",
        "scheduler.milestones=[]",
    ): "scheduler.milestones = []: must rise, and hold at least one",
    ("hardware.is_dynamic_loss_scale=true",): "must be false at hardware.amp_level=O0",
    ("task=evaluate",): "checkpoint = null: must name a run directory or a weights file",
    ("images=somewhere",): "images = 'somewhere': belongs to task=predict",
}


@pytest.mark.parametrize("overrides", WRONG, ids=" ".join)
def test_wrong_setting_is_named_with_what_is_allowed(overrides: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        build_config(compose(*overrides))
    assert WRONG[overrides] in str(caught.value)


def test_a_law_over_settings_is_not_judged_while_one_of_them_is_invalid() -> None:
    with pytest.raises(WrongSettingsError) as caught:
        make_config("model.image_size=many")
    assert len(caught.value.problems) == 1
