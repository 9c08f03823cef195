from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor, nn, ops

from beit_exp.model.operations import native, onednn_kernels
from beit_exp.model.operations.gradients import Normalisation, Softmax, WeightedSum
from beit_exp.model.operations.mindspore_kernels import Kernels
from beit_exp.model.operations.rows import ConstantOnes, RowsByProducts

ROWS = RowsByProducts(ConstantOnes())
NORMS = [Normalisation(ROWS)]
NORMS += [native.NativeNormalisation()] if onednn_kernels.is_available() else []


@pytest.mark.parametrize("shape", [(1, 8), (33, 48), (1576, 768)])
@pytest.mark.parametrize("normalise", NORMS)
def test_layer_norm_and_its_gradients_are_exact(normalise: nn.Cell, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, gradient = (rng.normal(0.5, 2.0, shape).astype(np.float32) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1], np.float32) for _ in range(2))
    tensors = [Tensor(array) for array in (x, weight, bias)]
    found, gradients = ops.value_and_grad(
        lambda *inputs: (normalise(*inputs)[0] * Tensor(gradient)).sum(), (0, 1, 2)
    )(*tensors)

    scale = 1 / np.sqrt(x.astype(np.float64).var(axis=1, keepdims=True) + 1e-6)
    hat = (x - x.astype(np.float64).mean(axis=1, keepdims=True)) * scale
    weighted = gradient * weight.astype(np.float64)
    along = weighted.mean(axis=1, keepdims=True) + hat * (weighted * hat).mean(
        axis=1, keepdims=True
    )
    exact = [
        scale * (weighted - along),
        (gradient * hat).sum(axis=0),
        gradient.sum(axis=0, dtype=np.float64),
    ]
    agree(
        "layer norm, of the largest",
        normalise(*tensors)[0].asnumpy(),
        hat * weight + bias,
        within=2e-6,
        relative=True,
    )
    for name, ours, theirs in zip(("x", "scale", "shift"), gradients, exact, strict=True):
        agree(
            f"layer norm's gradient of {name}, of the largest",
            ours.asnumpy(),
            theirs,
            within=2e-6,
            relative=True,
        )
    assert np.isfinite(float(found))


def test_attentions_backward_pass_sums_what_half_precision_could_not_hold() -> None:
    half = {"q": np.zeros((1, 1, 2, 2)), "k": np.zeros((1, 1, 2, 2))}
    half |= {"v": np.array([[[[300, 299], [300, 301]]]]), "gradient": np.full((1, 1, 2, 2), 300.0)}
    half["gradient"][..., 1] = -300  # 300 x 300 is over 65,504, the sum over the width is not
    q, k, v, gradient = (Tensor(array.astype(np.float16)) for array in half.values())
    bias = Tensor(np.zeros((1, 2, 2), np.float32))
    attend = WeightedSum(Kernels(), Softmax(ROWS), ROWS, statistics=ms.float32)
    _, grad_bias = ops.value_and_grad(lambda bias: (attend(q, k, v, bias)[0] * gradient).sum(), 0)(
        bias
    )
    # dw = ±300, half of which each row's weights give
    np.testing.assert_allclose(grad_bias.asnumpy(), [[[150, -150], [150, -150]]], rtol=1e-2)
