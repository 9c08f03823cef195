"""Self-attention with BEiT's relative position bias."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.layers import Dense, DenseWithoutBias, make_parameter
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
        self.q = Dense(width, width, operations, for_heads=True)
        self.k = DenseWithoutBias(width, width, operations)
        self.v = Dense(width, width, operations, for_heads=True)
        self.proj = Dense(width, width, operations)
        self.num_heads = num_heads
        self.scale = (width // num_heads) ** -0.5
        self.precision = operations.precision
        self.heads = operations.heads
        self.weighted_sum = operations.weighted_sum
        self.project = operations.joint_projection

    def construct(self, x_BND: Tensor, bias_HNN: Tensor | None) -> Tensor:
        tokens = x_BND.shape[1]
        q_BHNK, k_BHNK, v_BHNK = self.projections(x_BND)
        q_BHNK = q_BHNK * self.scale
        if bias_HNN is None:
            bias_HNN = ops.zeros((self.num_heads, tokens, tokens), self.precision.statistics)
        bias_HNN = cast(bias_HNN, self.precision.statistics)
        out_BHNK = self.weighted_sum(q_BHNK, k_BHNK, v_BHNK, bias_HNN)[0]
        return self.proj(self.heads.merge(out_BHNK))

    def projections(self, x_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v, each (B, H, N, K)."""
        heads = self.num_heads
        if self.project is None:
            q_BHNK = self.heads.split(self.q(x_BND), heads)
            k_BHNK = self.heads.split(self.k(x_BND), heads)
            return q_BHNK, k_BHNK, self.heads.split(self.v(x_BND), heads)
        weights = self.q.weight, self.k.weight, self.v.weight
        x_BND = cast(x_BND, self.precision.product)
        return self.project(x_BND, weights, (self.q.bias, self.v.bias), heads)
