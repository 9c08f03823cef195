"""q, k and v by one product, by three, and by a compiled operator: the same numbers."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from beit_exp.model.attention import Attention
from beit_exp.model.operations import choice, onednn_kernels
from beit_exp.model.operations.choice import Operations
from beit_exp.model.operations.projections import (
    JointProjection,
    ProjectionsOfRows,
    SeparateProjections,
)
from beit_exp.model.precision import build_precision

pytestmark = pytest.mark.usefixtures("compiled")
WIDTH, HEADS, IMAGES, TOKENS = 24, 3, 2, 5
SHAPE_BY_HEADS = (IMAGES, HEADS, TOKENS, WIDTH // HEADS)


class Projections(nn.Cell):
    """The heads of q, k and v, and the gradients of a sum of them, each weighted by its own."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        weights = attention.trainable_params()[:5]
        self.names = [weight.name for weight in weights]
        self.grad = ops.grad(self.total, 0, ms.ParameterTuple(weights))

    def total(self, x_BND: Tensor, factors: Tensor) -> Tensor:
        q, k, v = self.attention.projections(x_BND)
        return (q * factors[0] + k * factors[1] + v * factors[2]).sum()

    def construct(self, x_BND: Tensor, factors: Tensor):
        return self.attention.projections(x_BND), self.grad(x_BND, factors)


def build_attention() -> Attention:
    attention = Attention(WIDTH, HEADS, Operations(build_precision("O0", half=ms.float32)))
    rng = np.random.default_rng(0)
    for weight in attention.get_parameters():
        weight.set_data(Tensor(rng.standard_normal(weight.shape, dtype=np.float32)))
    return attention


def by_rows(of_heads: np.ndarray) -> np.ndarray:
    """(.., B, H, N, K) -> (.., R, D)."""
    moved = of_heads.swapaxes(-3, -2)
    return moved.reshape(*moved.shape[:-4], IMAGES * TOKENS, WIDTH)


@pytest.mark.parametrize("kind", [JointProjection, ProjectionsOfRows])
def test_they_project_as_three_products_do(kind: type, monkeypatch) -> None:
    if kind is ProjectionsOfRows and not onednn_kernels.is_available():
        pytest.skip("the operators are not compiled here")
    rng = np.random.default_rng(1)
    x_BND = Tensor(rng.standard_normal((IMAGES, TOKENS, WIDTH), dtype=np.float32))
    factors = rng.standard_normal((3, *SHAPE_BY_HEADS), dtype=np.float32)
    with monkeypatch.context() as elsewhere:
        if kind is JointProjection:  # the operators that a card computes with
            elsewhere.setattr(choice, "is_cpu", lambda: False)
        other = Projections(build_attention())
    monkeypatch.setattr(choice.onednn_kernels, "is_available", lambda: False)
    separate = Projections(build_attention())
    assert isinstance(other.attention.project, kind)
    assert isinstance(separate.attention.project, SeparateProjections)
    assert [name.partition(".")[2] for name in other.names] == [
        "q.weight",
        "q.bias",
        "k.weight",
        "v.weight",
        "v.bias",
    ]
    expected, (expected_x, expected_grads) = separate(x_BND, Tensor(factors))
    expected = [heads.asnumpy() for heads in expected]
    if kind is ProjectionsOfRows:
        factors, expected = by_rows(factors), [by_rows(heads) for heads in expected]
    found, (grad_x, grads) = other(x_BND, Tensor(factors))
    gradients = zip((grad_x, *grads), (expected_x, *expected_grads), strict=True)
    for ours, theirs in [
        *zip(found, expected, strict=True),
        *((ours, theirs.asnumpy()) for ours, theirs in gradients),
    ]:
        np.testing.assert_allclose(ours.asnumpy(), theirs, rtol=2e-5, atol=2e-5)
