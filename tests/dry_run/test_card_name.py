from __future__ import annotations

from beit_exp.hardware.device import Runtime, device_name


def test_a_card_that_mindspore_does_not_count_is_called_simulated() -> None:
    assert device_name(Runtime("Ascend", half=None, rank=0, size=8)) == "8 x simulated Ascend"
