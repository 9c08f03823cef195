"""The operators behind products and GELU: MindSpore's, on any device and for any batch size."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.precision import cast

# R rows · I width in · O width out


class DenseByBiasAdd(nn.Cell):
    """x weightᵀ + bias for (R, I) rows on a CPU, the sum in the element type `kind`."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.product_with_transposed = ops.MatMul(transpose_b=True)
        self.add_bias = ops.BiasAdd()
        self.kind = kind

    def construct(self, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
        out = self.product_with_transposed(x_RI, weight_OI)
        return self.add_bias(cast(out, self.kind), cast(bias_O, self.kind))


class DenseByAddition(nn.Cell):
    """x weightᵀ + bias on a card, which has an older kernel for BiasAdd and may fuse a sum."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.product_with_transposed = ops.MatMul(transpose_b=True)
        self.kind = kind

    def construct(self, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
        out = self.product_with_transposed(x_RI, weight_OI)
        return cast(out, self.kind) + cast(bias_O, self.kind)


class Gelu(nn.Cell):
    """x Φ(x) with Φ the normal distribution, exact.

    BEiT was trained with it, and the tanh form is off by up to 5e-4. For the gradient the slope
    Φ + x φ is kept, instead of x and all that leads to it.
    """

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-> (value, slope)."""
        share = ops.erf(x * 0.5**0.5) * 0.5 + 0.5
        density = ops.exp(x * x * -0.5) * (2 * np.pi) ** -0.5
        return x * share, share + x * density

    def bprop(
        self, x: Tensor, out: tuple[Tensor, Tensor], grad: tuple[Tensor, Tensor]
    ) -> tuple[Tensor]:
        return (grad[0] * out[1],)


class Kernels:
    """Products of matrices, of batches of them, and GELU."""

    def __init__(self) -> None:
        self.product: Any = ops.MatMul()
        self.product_with_transposed: Any = ops.MatMul(transpose_b=True)
        self.product_of_transposed: Any = ops.MatMul(transpose_a=True)
        self.batch_product: Any = ops.BatchMatMul()
        self.batch_product_with_transposed: Any = ops.BatchMatMul(transpose_b=True)
        self.batch_product_of_transposed: Any = ops.BatchMatMul(transpose_a=True)
        self.gelu: Any = Gelu()
