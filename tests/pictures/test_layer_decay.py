from __future__ import annotations

import numpy as np
import pytest
from settings import make_config

from beit_exp.optim.groups import layer_of
from pictures.layer_decay import DECAYS, NAMES, scales


def test_the_chart_has_every_layer_of_beit_base_once() -> None:
    depth = make_config("model=beit_base_patch16_224").model.depth
    assert [layer_of(name, depth=depth) for name in NAMES] == list(range(depth + 2))


@pytest.mark.parametrize("decay", DECAYS)
def test_each_layer_learns_by_the_decay_slower_than_the_one_above(decay: float) -> None:
    found = np.array(scales(decay))
    np.testing.assert_allclose(found[:-1] / found[1:], decay, rtol=1e-12)
    assert found[-1] == 1
