from __future__ import annotations

import pytest

from beit_exp.model.operations import gradients, onednn_kernels
from beit_exp.model.operations.choice import Operations
from beit_exp.self_check import layer_norm

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.mark.parametrize("is_native", [True, False])
def test_the_layer_agrees_with_numpy(is_native: bool, monkeypatch) -> None:
    if not is_native:
        monkeypatch.setattr(onednn_kernels, "is_available", lambda: False)
    assert layer_norm.check_layer_norm().passed


@pytest.mark.parametrize("eps", [0.0, 2e-6])
def test_a_gradient_that_is_wrong_by_the_eps_fails(eps: float, monkeypatch) -> None:
    monkeypatch.setattr(onednn_kernels, "is_available", lambda: False)

    def build(precision):
        operations = Operations(precision)
        monkeypatch.setattr(gradients, "LAYER_NORM_EPS", eps)  # of the backward pass alone
        return operations

    monkeypatch.setattr(layer_norm, "Operations", build)
    outcome = layer_norm.check_layer_norm()
    assert outcome.passed is False and "at 0.001" in outcome.seen
