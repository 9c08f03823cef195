from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from networks import build

from beit_exp.model.precision import Precision, build_precision


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_half_precision_stays_near_float32(level: str) -> None:
    images = Tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32))
    exact = build("model.head_init_scale=1.0")(images).asnumpy()
    network = build("model.head_init_scale=1.0", precision=build_precision(level, half=ms.float16))
    rounded = network(images)
    assert rounded.dtype == ms.float32
    difference = np.abs(rounded.asnumpy() - exact).max()
    assert 0 < difference < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        ("O0", (ms.float32, ms.float32, ms.float32)),
        ("O1", (ms.float16, ms.float32, ms.float32)),
        ("O2", (ms.float16, ms.float16, ms.float32)),
        ("O3", (ms.float16, ms.float16, ms.float16)),
    ],
)
def test_amp_level_says_what_is_cast(level: str, kinds: tuple) -> None:
    assert build_precision(level, half=ms.float16) == Precision(*kinds)
