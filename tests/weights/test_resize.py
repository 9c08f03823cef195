from __future__ import annotations

import numpy as np
import pytest
from agreement import agree
from settings import GOLDEN

from beit_exp.weights.resize import _bicubic, resize_positions, resize_table


def test_resized_positions_keep_the_class_token_and_a_constant() -> None:
    positions = np.random.default_rng(0).standard_normal((1, 17, 4)).astype(np.float32)
    positions[:, 1:] = 3.0
    found = resize_positions(positions, 50)
    assert found.shape == (1, 50, 4)
    assert (found[:, 0] == positions[:, 0]).all()
    np.testing.assert_allclose(found[:, 1:], 3.0, rtol=1e-6)


def test_resized_positions_are_torchs_bicubic() -> None:
    # torch.nn.functional.interpolate(arange(4.).view(1, 1, 1, 4) ** 2, (1, 6), mode="bicubic")
    expected = [-0.0868, 0.2188, 1.4306, 3.1528, 6.7812, 9.4340]
    row = _bicubic(4, 6) @ np.arange(4.0) ** 2
    np.testing.assert_allclose(row, expected, atol=1e-4)


@pytest.mark.parametrize("grid", [24, 32])
def test_resized_table_is_the_official_one(grid: int) -> None:
    reference = np.load(GOLDEN / "rel_pos_resize.npz")
    source, target = reference[f"from_14_to_{grid}/source"], reference[f"from_14_to_{grid}/target"]
    found = resize_table(source, len(target))
    agree("resized relative position tables", found, target, within=2e-3)
    assert (found[-3:] == source[-3:]).all()
