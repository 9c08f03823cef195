"""What half precision costs: thirty steps with float16 tensors beside float32's."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from trajectory import Trajectory, train

from beit_exp.model.operations import choice
from beit_exp.model.precision import build_precision

pytestmark = pytest.mark.usefixtures("compiled")
OVERFLOW = 15  # the step whose loss scale is too large, and which is skipped


@pytest.fixture(scope="module")
def in_float32() -> Trajectory:
    ms.set_context(mode=ms.GRAPH_MODE)
    return train(skip=OVERFLOW)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_training_in_float16_skips_an_overflow_and_stays_near_float32(
    level: str, in_float32: Trajectory, monkeypatch
) -> None:
    monkeypatch.setattr(choice, "is_cpu", lambda: False)  # the operators that a card computes with
    exact, found = in_float32, train(build_precision(level, half=ms.float16), skip=OVERFLOW)
    assert found.skipped == exact.skipped == 1 and np.isfinite(found.losses).all()
    agree(f"float16 at {level}: losses of 29 steps", found.losses, exact.losses, within=6e-4)
    share, one = found.norms / exact.norms, np.ones(len(exact.norms))
    agree(f"float16 at {level}: gradient norms, of each", share, one, within=5e-4)
    for name, array in found.final.items():
        agree(f"float16 at {level}: final parameters", array, exact.final[name], within=2e-4)
