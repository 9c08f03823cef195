from __future__ import annotations

from beit_exp.train.loss_scale import LossScale


def test_loss_scale_halves_to_one_and_doubles_after_its_window() -> None:
    scale = LossScale(2.0, True, window=3)
    values = []
    for finite in (False, False, True, True, True, True, False):
        scale.update(finite=finite)
        values.append(scale.value)
    assert values == [1, 1, 1, 1, 2, 2, 1]


def test_a_fixed_scale_stays() -> None:
    scale = LossScale(8.0, False, window=1)
    scale.update(finite=False)
    scale.update(finite=True)
    assert scale.value == 8.0
