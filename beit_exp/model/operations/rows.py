"""Sums over the rows or columns of matrices, and their opposite."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


@ms.constexpr
def constant_ones(rows: int, columns: int, kind: Any) -> Tensor:
    return Tensor(np.ones((rows, columns), np.float32), kind)


class Ones(nn.Cell):
    """(rows, columns) ones: a constant, since `ops.ones` takes the compiler longer than all else
    here.
    """

    def __init__(self, *, has_open_batch: bool) -> None:
        super().__init__()
        self.has_open_batch = has_open_batch

    def construct(self, rows: int, columns: int, kind: Any) -> Tensor:
        if self.has_open_batch:
            return ops.ones((rows, columns), kind)
        return constant_ones(rows, columns, kind)


class Rows(nn.Cell):
    """Sums over the rows or columns of a matrix, and the opposite: a row or a column for all of it.

    Measured on a CPU with (1576, 3072) float32, two cores, MindSpore 2.10: a sum over rows takes
    7.0 ms, the product with a row of ones 1.0; an operator that broadcasts takes 3.9 ms, the same
    after a product that spreads the smaller operand 1.4, and it keeps 16 bytes an element for good,
    9 of the 12 GB of a BEiT-base step.
    """

    def __init__(self, ones: Ones) -> None:
        super().__init__()
        self.by_products = ms.get_context("device_target") == "CPU"
        self.product = ops.MatMul()
        self.ones = ones

    def column_sums(self, x_RC: Tensor) -> Tensor:
        """-> (C,)."""
        if self.by_products:
            return ops.reshape(self.product(self.ones(1, x_RC.shape[0], x_RC.dtype), x_RC), (-1,))
        return x_RC.sum(axis=0)

    def row_sums(self, x_RC: Tensor) -> Tensor:
        """-> (R, 1)."""
        if self.by_products:
            return self.product(x_RC, self.ones(x_RC.shape[1], 1, x_RC.dtype))
        return x_RC.sum(axis=1, keepdims=True)

    def spread_column(self, x_R1: Tensor, columns: int) -> Tensor:
        """-> (R, C), or what broadcasts to it."""
        return self.product(x_R1, self.ones(1, columns, x_R1.dtype)) if self.by_products else x_R1

    def spread_row(self, x_C: Tensor, rows: int) -> Tensor:
        """-> (R, C), or what broadcasts to it."""
        row_1C = ops.reshape(x_C, (1, -1))
        return self.product(self.ones(rows, 1, x_C.dtype), row_1C) if self.by_products else row_1C

    def outer(self, x_R1: Tensor, y_C: Tensor) -> Tensor:
        """-> (R, C) products of each pair."""
        row_1C = ops.reshape(y_C, (1, -1))
        return self.product(x_R1, row_1C) if self.by_products else x_R1 * row_1C


class Transposition(nn.Cell):
    """(R, C) -> (C, R), for few columns."""

    def __init__(self) -> None:
        super().__init__()
        self.by_products = ms.get_context("device_target") == "CPU"
        self.product_with_transposed = ops.MatMul(transpose_b=True)

    def construct(self, x_RC: Tensor) -> Tensor:
        if self.by_products:
            return self.product_with_transposed(
                ops.eye(x_RC.shape[1], x_RC.shape[1], x_RC.dtype), x_RC
            )
        return ops.transpose(x_RC, (1, 0))
