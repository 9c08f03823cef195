"""Self-attention with BEiT's relative position bias."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.layers import Dense, Weights, make_parameter
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import cast

# B batch · N tokens, the class token first · D width · H heads · K width per head


def relative_position_index(grid: int) -> np.ndarray:
    """(N, N) int32 rows of the bias table for a grid x grid image and a class token: N = grid² + 1.

    Row (dy + grid - 1)(2 grid - 1) + (dx + grid - 1) for two patches; the last three rows are
    class-to-patch, patch-to-class and class-to-class. Source: unilm/beit modeling_finetune.py,
    RelativePositionBias.
    """
    side = 2 * grid - 1
    y, x = np.divmod(np.arange(grid * grid), grid)
    patches = (y[:, None] - y[None] + grid - 1) * side + (x[:, None] - x[None] + grid - 1)
    index = np.empty((grid * grid + 1, grid * grid + 1), dtype=np.int32)
    index[1:, 1:] = patches
    index[0, :] = side * side
    index[:, 0] = side * side + 1
    index[0, 0] = side * side + 2
    return index


class RelativePositionBias(nn.Cell):
    """-> (H, N, N) float32: a learned bias per head and pair of tokens, by their distance."""

    def __init__(self, grid: int, num_heads: int, operations: Operations) -> None:
        super().__init__()
        self.relative_position_bias_table = make_parameter((2 * grid - 1) ** 2 + 3, num_heads)
        self.index = Tensor(relative_position_index(grid).reshape(-1))
        self.tokens = grid * grid + 1
        self.num_heads = num_heads
        self.rows = operations.rows

    def construct(self) -> Tensor:
        bias = ops.gather(self.relative_position_bias_table, self.index, 0)
        by_head = self.rows.transposed(bias)
        return ops.reshape(by_head, (self.num_heads, self.tokens, self.tokens))


class Attention(nn.Cell):
    """Multi-head self-attention: softmax(q kᵀ / √K + bias) v.

    As in the official code, k has no bias.
    """

    def __init__(self, width: int, num_heads: int, operations: Operations) -> None:
        super().__init__()
        self.q = Weights(width, width)
        self.k = Weights(width, width, has_bias=False)
        self.v = Weights(width, width)
        self.proj = Dense(width, width, operations)
        self.num_heads = num_heads
        self.precision = operations.precision
        self.project = operations.project
        self.attend = operations.attend

    def construct(self, x_BND: Tensor, bias_HNN: Tensor | None) -> Tensor:
        tokens = x_BND.shape[1]
        if bias_HNN is None:
            bias_HNN = ops.zeros((self.num_heads, tokens, tokens), self.precision.statistics)
        if bias_HNN.shape[1] != tokens:  # rows would be taken for those of other images
            raise ValueError("the bias is not of as many tokens as there are")
        q, k, v = self.projections(x_BND)
        return self.proj(self.attend(q, k, v, bias_HNN))

    def projections(self, x_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v as `attend` takes them."""
        weights = self.q.weight, self.k.weight, self.v.weight
        x_BND = cast(x_BND, self.precision.product)
        return self.project(x_BND, weights, (self.q.bias, self.v.bias), self.num_heads)
