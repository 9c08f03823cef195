from __future__ import annotations

import pytest
from settings import compose

from beit_exp.config.mapping import build_config
from beit_exp.errors import UserError

WRONG = {  # overrides -> what the message must say
    ("optimizer.layer_decay=1.5",): "optimizer.layer_decay = 1.5: must be a number > 0 and <= 1",
    ("optimizer.layer_decay=0",): "optimizer.layer_decay = 0: must be a number > 0 and <= 1",
    ("optimizer.base_lr=fast",): "optimizer.base_lr = 'fast': must be a number > 0",
    ("optimizer.beta=[0.9]",): "optimizer.beta = [0.9]: must be a list of 2",
    ("optimizer.beta=[0.9,1.0]",): "optimizer.beta.1 = 1.0: must be a number > 0 and < 1",
    (
        "optimizer.clip_global_norm_value=0",
    ): "optimizer.clip_global_norm_value = 0: must be a number > 0 or null",
    ("optimizer.name='a :b'",): "optimizer.name = 'a :b': must be one of",
    ("train.batch_size=2.5",): "train.batch_size = 2.5: must be a whole number > 0",
    ("train.shuffle=1",): "train.shuffle = 1: must be true or false",
    ("model.drop_path_rate=1.0",): "model.drop_path_rate = 1.0: must be a number >= 0 and < 1",
    ("dataset=image_folder",): "dataset.data_url is not set: it must be text",
    (
        "train.class_weights=[0,1]",
    ): "train.class_weights = [0, 1]: must be balanced or a list, each",
    ("train.class_weights=3",): "1 setting is wrong",
    ("+tracking.tags.trial=3",): "tracking.tags.trial = 3: must be text",
    ("export.formats=onnx",): "export.formats = 'onnx': must be a list of at least 1, each one of",
    ("augment.auto_augment=rand-m9-x3",): "'x3' is not understood; allowed: rand-m<0..10>",
}


@pytest.mark.parametrize("overrides", WRONG, ids=" ".join)
def test_wrong_setting_is_named_with_what_is_allowed(overrides: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        build_config(compose(*overrides))
    assert WRONG[overrides] in str(caught.value)
