from __future__ import annotations

import numpy as np

from beit_exp.hardware.device import Runtime


def test_a_process_alone_gathers_what_it_has() -> None:
    runtime = Runtime("CPU", half=None, rank=0, size=1)
    assert runtime.is_leader
    assert runtime.gather(np.array([1, 2])).tolist() == [[1.0, 2.0]]
