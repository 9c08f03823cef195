from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from beit_exp.model.attention import Attention
from beit_exp.model.operations import choice
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import build_precision

pytestmark = pytest.mark.usefixtures("compiled")
WIDTH, HEADS = 24, 3


class Projections(nn.Cell):
    """The heads of q, k and v, and the gradients of a sum of them, each weighted by its own."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        weights = attention.trainable_params()[:5]
        self.names = [weight.name for weight in weights]
        self.grad = ops.grad(self.total, 0, ms.ParameterTuple(weights))

    def total(self, x_BND: Tensor, factors: Tensor) -> Tensor:
        return (ops.stack(self.attention.projections(x_BND)) * factors).sum()

    def construct(self, x_BND: Tensor, factors: Tensor):
        return self.attention.projections(x_BND), self.grad(x_BND, factors)


def build_attention() -> Attention:
    attention = Attention(WIDTH, HEADS, Operations(build_precision("O0", half=ms.float32)))
    rng = np.random.default_rng(0)
    for weight in attention.get_parameters():
        weight.set_data(Tensor(rng.standard_normal(weight.shape, dtype=np.float32)))
    return attention


def test_one_product_projects_as_three_do(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    x_BND = Tensor(rng.standard_normal((2, 5, WIDTH), dtype=np.float32))
    factors = Tensor(rng.standard_normal((3, 2, HEADS, 5, WIDTH // HEADS), dtype=np.float32))
    separate = Projections(build_attention())
    monkeypatch.setattr(choice, "is_cpu", lambda: False)  # the operators that a card computes with
    joint = Projections(build_attention())
    assert separate.attention.project is None and joint.attention.project is not None
    assert [name.partition(".")[2] for name in joint.names] == [
        "q.weight",
        "q.bias",
        "k.weight",
        "v.weight",
        "v.bias",
    ]
    (heads, (grad_x, grads)), (expected, (expected_x, expected_grads)) = (
        cell(x_BND, factors) for cell in (joint, separate)
    )
    for found, other in zip(
        (*heads, grad_x, *grads), (*expected, expected_x, *expected_grads), strict=True
    ):
        np.testing.assert_allclose(found.asnumpy(), other.asnumpy(), rtol=2e-5, atol=2e-5)
