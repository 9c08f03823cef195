from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from beit_exp.model.operations import choice
from beit_exp.model.precision import build_precision
from beit_exp.self_check import golden

pytestmark = pytest.mark.usefixtures("compiled")
FLOAT32 = build_precision("O0", half=ms.float32)


def test_float32_agrees() -> None:
    outcome = golden.check_golden(golden.load_reference(), FLOAT32, operands="float32")
    assert outcome.passed, outcome.seen


@pytest.mark.parametrize(
    "level",
    [
        pytest.param("O1", marks=pytest.mark.slow),
        pytest.param("O2", marks=pytest.mark.slow),
        pytest.param("O3", marks=pytest.mark.slow),
    ],
)
def test_float16_agrees_as_far_as_it_can(level: str, monkeypatch) -> None:
    monkeypatch.setattr(choice, "is_cpu", lambda: False)  # the operators that a card computes with
    precision = build_precision(level, half=ms.float16)
    reference = golden.load_reference()
    assert golden.check_golden(reference, precision, operands="float16").passed
    assert not golden.check_golden(reference, precision, operands="float32").passed


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_fails_and_is_named() -> None:
    reference = golden.load_reference()
    reference.gradients["head.bias"][:] = np.nan
    outcome = golden.check_golden(reference, FLOAT32, operands="float32")
    assert outcome.passed is False and "head.bias" in outcome.seen


def test_a_matrix_unit_that_saturates_has_half_operands_whatever_the_tensors() -> None:
    half = build_precision("O1", half=ms.float16)
    rounding = build_precision("O1", half=ms.float32)
    brain = build_precision("O1", half=ms.bfloat16)
    assert golden.operands_of(FLOAT32, is_saturating=False) == "float32"
    assert golden.operands_of(FLOAT32, is_saturating=True) == "float16"
    assert golden.operands_of(half, is_saturating=False) == "float16"
    assert {golden.operands_of(each, is_saturating=False) for each in (rounding, brain)} == {
        "bfloat16"
    }
