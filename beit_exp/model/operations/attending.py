"""Attention between its projections: of heads, or of rows with all heads side by side."""

from __future__ import annotations

from typing import Any, TypeAlias

from mindspore import Tensor, nn, ops

from beit_exp.model.operations.gradients import WeightedSum
from beit_exp.model.operations.heads import Heads
from beit_exp.model.precision import cast

# B batch · N tokens · D width · H heads · K width per head · R rows


class AttentionOfHeads(nn.Cell):
    """softmax(q kᵀ / √K + bias) v of q, k and v by heads, (B, H, N, K)."""

    def __init__(self, weighted_sum: WeightedSum, heads: Heads, *, statistics: Any) -> None:
        super().__init__()
        self.weighted_sum = weighted_sum
        self.heads = heads
        self.statistics = statistics

    def construct(self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, bias_HNN: Tensor) -> Tensor:
        """-> (B, N, D)."""
        scaled_BHNK = q_BHNK * q_BHNK.shape[3] ** -0.5
        bias_HNN = cast(bias_HNN, self.statistics)
        return self.heads.merge(self.weighted_sum(scaled_BHNK, k_BHNK, v_BHNK, bias_HNN)[0])

    def by_heads(self, x_BHNK: Tensor, tokens: int, num_heads: int) -> Tensor:
        """q, k or v -> (B, H, N, K)."""
        return x_BHNK


class AttentionOfRows(nn.Cell):
    """The same of q, k and v by rows, (R, D), by a compiled operator."""

    def __init__(self, attend_rows: nn.Cell) -> None:
        super().__init__()
        self.attend_rows = attend_rows

    def construct(self, q_RD: Tensor, k_RD: Tensor, v_RD: Tensor, bias_HNN: Tensor) -> Tensor:
        """-> (B, N, D)."""
        out_RD = self.attend_rows(q_RD, k_RD, v_RD, bias_HNN)
        return ops.reshape(out_RD, (-1, bias_HNN.shape[1], q_RD.shape[1]))

    def by_heads(self, x_RD: Tensor, tokens: int, num_heads: int) -> Tensor:
        """q, k or v -> (B, H, N, K)."""
        x_BNHK = ops.reshape(x_RD, (-1, tokens, num_heads, x_RD.shape[1] // num_heads))
        return ops.transpose(x_BNHK, (0, 2, 1, 3))


Attending: TypeAlias = AttentionOfHeads | AttentionOfRows
