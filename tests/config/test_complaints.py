from __future__ import annotations

import pytest
from settings import compose

from beit_exp.config.mapping import build_config
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
