"""Sums over the rows or columns of matrices, and their opposite: by products, or by operators."""

from __future__ import annotations

from typing import Any, TypeAlias

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.precision import cast

# R rows · C columns


@ms.constexpr
def constant_ones(rows: int, columns: int, kind: Any) -> Tensor:
    return Tensor(np.ones((rows, columns), np.float32), kind)


class ConstantOnes(nn.Cell):
    """(rows, columns) ones, a constant: `ops.ones` takes the compiler longer than all else here."""

    def construct(self, rows: int, columns: int, kind: Any) -> Tensor:
        return constant_ones(rows, columns, kind)


class OpenOnes(nn.Cell):
    """(rows, columns) ones whose shape may depend on the batch size that a graph leaves open."""

    def construct(self, rows: int, columns: int, kind: Any) -> Tensor:
        return ops.ones((rows, columns), kind)


Ones: TypeAlias = ConstantOnes | OpenOnes


class RowsByProducts(nn.Cell):
    """What a CPU does with rows and columns: products with ones.

    Measured on a CPU with (1576, 3072) float32, two cores, MindSpore 2.10: a sum over rows takes
    7.0 ms, the product with a row of ones 1.0; an operator that broadcasts takes 3.9 ms, the same
    after a product that spreads the smaller operand 1.4, and it keeps 16 bytes an element for good,
    9 of the 12 GB of a BEiT-base step.
    """

    def __init__(self, ones: Ones) -> None:
        super().__init__()
        self.product = ops.MatMul()
        self.product_with_transposed = ops.MatMul(transpose_b=True)
        self.ones = ones

    def column_sums(self, x_RC: Tensor) -> Tensor:
        """-> (C,) float32."""
        ones_1R = self.ones(1, x_RC.shape[0], ms.float32)
        return ops.reshape(self.product(ones_1R, cast(x_RC, ms.float32)), (-1,))

    def row_sums(self, x_RC: Tensor) -> Tensor:
        """-> (R, 1)."""
        return self.product(x_RC, self.ones(x_RC.shape[1], 1, x_RC.dtype))

    def spread_column(self, x_R1: Tensor, columns: int) -> Tensor:
        """-> (R, C)."""
        return self.product(x_R1, self.ones(1, columns, x_R1.dtype))

    def spread_row(self, x_C: Tensor, rows: int) -> Tensor:
        """-> (R, C)."""
        return self.product(self.ones(rows, 1, x_C.dtype), ops.reshape(x_C, (1, -1)))

    def outer(self, x_R1: Tensor, y_C: Tensor) -> Tensor:
        """-> (R, C) products of each pair."""
        return self.product(x_R1, ops.reshape(y_C, (1, -1)))

    def transposed(self, x_RC: Tensor) -> Tensor:
        """-> (C, R), for few columns."""
        columns = x_RC.shape[1]
        return self.product_with_transposed(ops.eye(columns, columns, x_RC.dtype), x_RC)


class RowsByOperators(nn.Cell):
    """What other devices than a CPU do with rows and columns: operators that sum and broadcast."""

    def column_sums(self, x_RC: Tensor) -> Tensor:
        """-> (C,) float32."""
        return x_RC.sum(axis=0, dtype=ms.float32)

    def row_sums(self, x_RC: Tensor) -> Tensor:
        """-> (R, 1)."""
        return x_RC.sum(axis=1, keepdims=True)

    def spread_column(self, x_R1: Tensor, columns: int) -> Tensor:
        """-> what broadcasts to (R, C)."""
        return x_R1

    def spread_row(self, x_C: Tensor, rows: int) -> Tensor:
        """-> what broadcasts to (R, C)."""
        return ops.reshape(x_C, (1, -1))

    def outer(self, x_R1: Tensor, y_C: Tensor) -> Tensor:
        """-> (R, C) products of each pair."""
        return x_R1 * ops.reshape(y_C, (1, -1))

    def transposed(self, x_RC: Tensor) -> Tensor:
        """-> (C, R)."""
        return ops.transpose(x_RC, (1, 0))


Rows: TypeAlias = RowsByProducts | RowsByOperators
