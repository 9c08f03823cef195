"""q, k and v of attention, made of its tokens."""

from __future__ import annotations

from typing import TypeAlias

from mindspore import Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from beit_exp.model.operations.gradients import Product, ProductWithoutBias
from beit_exp.model.operations.heads import Heads
from beit_exp.model.precision import cast

# B batch · N tokens · D width · H heads · K width per head · R rows
# Each takes tokens (B, N, D), the (D, D) weights of q, k and v, and the (D,) biases of q and v.


class SeparateProjections(nn.Cell):
    """By three products; on a CPU, and in exported graphs."""

    def __init__(
        self, product: Product, product_without_bias: ProductWithoutBias, heads: Heads
    ) -> None:
        super().__init__()
        self.product = product
        self.product_without_bias = product_without_bias
        self.heads = heads

    def construct(
        self,
        x_BND: Tensor,
        weights_DD: tuple[Tensor, Tensor, Tensor],
        biases_D: tuple[Tensor, Tensor],
        num_heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v, each (B, H, N, K)."""
        rows_RD = ops.reshape(x_BND, (-1, x_BND.shape[2]))
        q_weight_DD, k_weight_DD, v_weight_DD = weights_DD
        q_RD = self.product(rows_RD, cast(q_weight_DD, x_BND.dtype), biases_D[0])
        k_RD = self.product_without_bias(rows_RD, cast(k_weight_DD, x_BND.dtype))
        v_RD = self.product(rows_RD, cast(v_weight_DD, x_BND.dtype), biases_D[1])
        q_BND, k_BND = ops.reshape(q_RD, x_BND.shape), ops.reshape(k_RD, x_BND.shape)
        v_BND = ops.reshape(v_RD, x_BND.shape)
        return (
            self.heads.split(q_BND, num_heads),
            self.heads.split(k_BND, num_heads),
            self.heads.split(v_BND, num_heads),
        )


class ProjectionsOfRows(nn.Cell):
    """By a compiled operator for rows, on a CPU."""

    def __init__(self, project_rows: nn.Cell) -> None:
        super().__init__()
        self.project_rows = project_rows

    def construct(
        self,
        x_BND: Tensor,
        weights_DD: tuple[Tensor, Tensor, Tensor],
        biases_D: tuple[Tensor, Tensor],
        num_heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v, each (R, D)."""
        rows_RD = ops.reshape(x_BND, (-1, x_BND.shape[2]))
        q_weight_DD, k_weight_DD, v_weight_DD = weights_DD
        q_bias_D, v_bias_D = biases_D
        return self.project_rows(rows_RD, q_weight_DD, q_bias_D, k_weight_DD, v_weight_DD, v_bias_D)


class JointProjection(nn.Cell):
    """By one product, on a card, where every operator is a launch.

    Of a block it takes 14 launches from 31. The gradient of the tokens is one product, too: its
    three parts are summed before they are rounded, and not after.
    """

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.product = product
        self.join = JoinedRows()
        self.split = SplitWithSize()

    def construct(
        self,
        x_BND: Tensor,
        weights_DD: tuple[Tensor, Tensor, Tensor],
        biases_D: tuple[Tensor, Tensor],
        num_heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v, each (B, H, N, K)."""
        _, tokens, width = x_BND.shape
        size = width // num_heads
        q_bias_D, v_bias_D = biases_D
        weight = cast(self.join(*weights_DD), x_BND.dtype)
        bias = self.join(q_bias_D, ops.zeros_like(q_bias_D), v_bias_D)
        out = self.product(ops.reshape(x_BND, (-1, width)), weight, bias)
        by_head = ops.transpose(ops.reshape(out, (-1, tokens, 3, num_heads, size)), (2, 0, 3, 1, 4))
        q, k, v = self.split(by_head, (1, 1, 1), 0)
        shape = (-1, num_heads, tokens, size)
        return ops.reshape(q, shape), ops.reshape(k, shape), ops.reshape(v, shape)


class JoinedRows(nn.Cell):
    """Three tensors of one shape, end to end; one operator splits the gradient, not three."""

    def __init__(self) -> None:
        super().__init__()
        self.split = SplitWithSize()

    def construct(self, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        return ops.concat((first, second, third))

    def bprop(
        self, first: Tensor, second: Tensor, third: Tensor, out: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = first.shape[0]
        return self.split(grad, (rows, rows, rows), 0)


Projections: TypeAlias = SeparateProjections | ProjectionsOfRows | JointProjection
