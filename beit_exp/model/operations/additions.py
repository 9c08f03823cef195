"""A branch added to what it branched from, scaled and dropped: by products, or by operators."""

from __future__ import annotations

from typing import TypeAlias

import mindspore as ms
from mindspore import Tensor, nn, ops

from beit_exp.model.operations.rows import Ones, Rows
from beit_exp.model.precision import cast

# R rows · B batch · N tokens · D width. `gamma` is a scale per channel. `keep` is a factor per
# image that may drop the branch; None where nothing is dropped.


class AdditionOnCpu(nn.Cell):
    """x + keep · branch on a CPU."""

    def __init__(self, add_scaled: nn.Cell, ones: Ones) -> None:
        super().__init__()
        self.add_scaled = add_scaled
        self.ones = ones

    def construct(
        self, x_BND: Tensor, branch_BND: Tensor, gamma: None, keep_B: Tensor | None
    ) -> Tensor:
        if keep_B is None:
            return x_BND + branch_BND
        gamma_D = ops.reshape(self.ones(1, branch_BND.shape[2], branch_BND.dtype), (-1,))
        return self.add_scaled(x_BND, branch_BND, gamma_D, keep_B)


class ScaledAdditionByRows(nn.Cell):
    """x + γ · keep · branch on a CPU, by a compiled operator for rows."""

    def __init__(self, add_rows: nn.Cell, ones: Ones) -> None:
        super().__init__()
        self.add_rows = add_rows
        self.ones = ones

    def construct(
        self, x_BND: Tensor, branch_BND: Tensor, gamma_D: Tensor, keep_B: Tensor | None
    ) -> Tensor:
        width = x_BND.shape[2]
        if keep_B is None:
            keep_B = ops.reshape(self.ones(1, 1, gamma_D.dtype), (-1,))
        rows = ops.reshape(x_BND, (-1, width)), ops.reshape(branch_BND, (-1, width))
        return ops.reshape(self.add_rows(*rows, gamma_D, keep_B), x_BND.shape)


class ScaledAdditionByProducts(nn.Cell):
    """x + γ · keep · branch on a CPU."""

    def __init__(self, rows: Rows, ones: Ones) -> None:
        super().__init__()
        self.add_rows = RowAddition(rows)
        self.product = ops.MatMul()
        self.ones = ones

    def construct(
        self, x_BND: Tensor, branch_BND: Tensor, gamma_D: Tensor, keep_B: Tensor | None
    ) -> Tensor:
        batch, tokens, width = x_BND.shape
        kind = branch_BND.dtype
        if keep_B is None:
            keep_R1 = self.ones(batch * tokens, 1, kind)
        else:
            keep_B1 = cast(ops.reshape(keep_B, (batch, 1)), kind)
            keep_R1 = ops.reshape(self.product(keep_B1, self.ones(1, tokens, kind)), (-1, 1))
        rows = ops.reshape(x_BND, (-1, width)), ops.reshape(branch_BND, (-1, width))
        return ops.reshape(self.add_rows(*rows, cast(gamma_D, kind), keep_R1), (-1, tokens, width))


class RowAddition(nn.Cell):
    """x + keep · scale · branch for (R, D) rows, with a factor per row and a scale per channel."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.product_of_transposed = ops.MatMul(transpose_a=True)
        self.rows = rows

    def construct(
        self, x_RD: Tensor, branch_RD: Tensor, scale_D: Tensor, keep_R1: Tensor
    ) -> Tensor:
        return x_RD + branch_RD * self.rows.outer(keep_R1, scale_D)

    def bprop(
        self,
        x_RD: Tensor,
        branch_RD: Tensor,
        scale_D: Tensor,
        keep_R1: Tensor,
        out: Tensor,
        grad_RD: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        keep_R1 = ops.depend(keep_R1, grad_RD)
        grad_scale_1D = self.product_of_transposed(keep_R1, grad_RD * branch_RD)
        grad_branch_RD = grad_RD * self.rows.outer(keep_R1, scale_D)
        return grad_RD, grad_branch_RD, ops.reshape(grad_scale_1D, (-1,)), ops.zeros_like(keep_R1)


class AdditionByOperators(nn.Cell):
    """x + keep · branch on other devices than a CPU."""

    def construct(
        self, x_BND: Tensor, branch_BND: Tensor, gamma: None, keep_B: Tensor | None
    ) -> Tensor:
        if keep_B is None:
            return x_BND + branch_BND
        return x_BND + branch_BND * cast(ops.reshape(keep_B, (-1, 1, 1)), branch_BND.dtype)


class ScaledAdditionByOperators(nn.Cell):
    """x + γ · keep · branch on other devices than a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = ScaleByOperators()

    def construct(
        self, x_BND: Tensor, branch_BND: Tensor, gamma_D: Tensor, keep_B: Tensor | None
    ) -> Tensor:
        scale = ops.reshape(gamma_D, (1, 1, -1))
        if keep_B is not None:
            scale = ops.reshape(keep_B, (-1, 1, 1)) * scale
        return x_BND + self.scale(branch_BND, scale)


class ScaleByOperators(nn.Cell):
    """branch · scale in the branch's element type, a float32 scale being (B, 1, D) or (1, 1, D).

    Its gradient is a sum over tokens of products that a loss scale has made large: in float32.
    """

    def construct(self, branch_BND: Tensor, scale: Tensor) -> Tensor:
        return branch_BND * cast(scale, branch_BND.dtype)

    def bprop(
        self, branch_BND: Tensor, scale: Tensor, out: Tensor, grad_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        axes = (0, 1) if scale.shape[0] == 1 else 1
        grad_scale = (grad_BND * branch_BND).sum(axis=axes, keepdims=True, dtype=ms.float32)
        return grad_BND * cast(scale, branch_BND.dtype), grad_scale


Addition: TypeAlias = AdditionOnCpu | AdditionByOperators
ScaledAddition: TypeAlias = (
    ScaledAdditionByRows | ScaledAdditionByProducts | ScaledAdditionByOperators
)
