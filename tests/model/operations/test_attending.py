"""Attention by heads and by rows, with its gradients: the numbers of its definition."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor, nn, ops
from networks import KERNELS

from beit_exp.model.operations import native, onednn_kernels
from beit_exp.model.operations.attending import AttentionOfHeads, AttentionOfRows
from beit_exp.model.operations.gradients import Softmax, WeightedSum
from beit_exp.model.operations.heads import HeadsByRows
from beit_exp.model.operations.mindspore_kernels import Kernels
from beit_exp.model.operations.rows import ConstantOnes, RowsByProducts

ROWS = RowsByProducts(ConstantOnes())
HEADS, TOKENS, SIZE = 2, 50, 16


def attention_of(name: str) -> nn.Cell:
    if name == "mindspore":
        weighted_sum = WeightedSum(Kernels(), Softmax(ROWS), ROWS, statistics=ms.float32)
        return AttentionOfHeads(weighted_sum, HeadsByRows(), statistics=ms.float32)
    return AttentionOfRows(native.NativeAttention(rounds_products=name == "rounded"))


def rows_of(heads_BHNK: np.ndarray) -> np.ndarray:
    """-> (B, N, D)."""
    return heads_BHNK.swapaxes(1, 2).reshape(len(heads_BHNK), TOKENS, HEADS * SIZE)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_attention_and_its_gradients_are_exact(name: str, batch: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v, gradient = (
        rng.standard_normal((batch, HEADS, TOKENS, SIZE), np.float32) for _ in range(4)
    )
    bias = rng.standard_normal((HEADS, TOKENS, TOKENS), np.float32)
    is_by_heads = name == "mindspore"
    given = [x if is_by_heads else rows_of(x).reshape(-1, HEADS * SIZE) for x in (q, k, v)]
    attend = attention_of(name)
    sums = attend(*map(Tensor, given), Tensor(bias))
    _, gradients = ops.value_and_grad(
        lambda *inputs: (attend(*inputs) * Tensor(rows_of(gradient))).sum(), (0, 1, 2, 3)
    )(*map(Tensor, given), Tensor(bias))

    scale = SIZE**-0.5
    scores = q.astype(np.float64) @ k.swapaxes(2, 3) * scale + bias
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    grad_weights = gradient.astype(np.float64) @ v.swapaxes(2, 3)
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(axis=-1, keepdims=True))
    exact = [
        grad_scores @ k * scale,
        grad_scores.swapaxes(2, 3) @ q * scale,
        weights.swapaxes(2, 3) @ gradient,
    ]
    is_rounded = name == "rounded" and onednn_kernels.has_bfloat16()
    within, what = (0.04, "rounded attention") if is_rounded else (4e-6, "attention")
    agree(
        f"{what}, of the largest",
        sums.asnumpy(),
        rows_of(weights @ v),
        within=within,
        relative=True,
    )
    expected = [x if is_by_heads else rows_of(x).reshape(-1, HEADS * SIZE) for x in exact]
    for ours, theirs in zip(gradients, [*expected, grad_scores.sum(axis=0)], strict=True):
        agree(
            f"{what}'s gradients, of the largest",
            ours.asnumpy(),
            theirs,
            within=within,
            relative=True,
        )
