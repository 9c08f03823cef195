from __future__ import annotations

import numpy as np

from beit_exp.hardware.device import Runtime, device_name


def test_a_process_alone_gathers_what_it_has() -> None:
    runtime = Runtime("CPU", half=None, rank=0, size=1)
    assert runtime.is_leader
    assert runtime.gather(np.array([1, 2])).tolist() == [[1.0, 2.0]]


def test_a_card_that_mindspore_does_not_count_is_called_simulated() -> None:
    assert device_name(Runtime("Ascend", half=None, rank=0, size=8)) == "8 x simulated Ascend"
