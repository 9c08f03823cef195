from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from beit_exp.data.filters import draw_resampling, resampling


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_a_filter_is_pillows_of_the_same_name(name: str) -> None:
    assert resampling(name) is Image.Resampling[name.upper()]


def test_random_draws_one_of_two_evenly_and_a_name_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_resampling("random", rng=rng) for _ in range(2000)]
    assert set(drawn) == {Image.Resampling.BILINEAR, Image.Resampling.BICUBIC}
    assert np.mean(np.array(drawn) == Image.Resampling.BICUBIC) == pytest.approx(0.5, abs=0.04)
    before = rng.bit_generator.state
    assert draw_resampling("bilinear", rng=rng) is Image.Resampling.BILINEAR
    assert rng.bit_generator.state == before
