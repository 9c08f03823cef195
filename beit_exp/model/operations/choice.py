"""What the layers of one network compute with: the one place that asks for the device."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms

from beit_exp.hardware import card
from beit_exp.model.operations import onednn_kernels
from beit_exp.model.operations.additions import (
    Addition,
    AdditionByOperators,
    AdditionByProducts,
    ScaledAddition,
    ScaledAdditionByOperators,
    ScaledAdditionByProducts,
)
from beit_exp.model.operations.gradients import (
    Normalisation,
    NormalisationByOperator,
    Product,
    ProductWithoutBias,
    Softmax,
    WeightedSum,
)
from beit_exp.model.operations.heads import Heads, HeadsByRows, HeadsByTranspose
from beit_exp.model.operations.joint_projection import JointProjection
from beit_exp.model.operations.mindspore_kernels import DenseByAddition, DenseByBiasAdd, Kernels
from beit_exp.model.operations.onednn_kernels import (
    NativeKernels,
    NativeNormalisation,
    NativeSoftmax,
)
from beit_exp.model.operations.overflow import FloatStatus, Infinities
from beit_exp.model.operations.rows import (
    ConstantOnes,
    OpenOnes,
    Rows,
    RowsByOperators,
    RowsByProducts,
)
from beit_exp.model.operations.squares import Squares, SquaresByOperators, SquaresByProduct
from beit_exp.model.precision import Precision


def is_cpu() -> bool:
    """Whether this process computes on a CPU."""
    return bool(ms.get_context("device_target") == "CPU")


def has_fast_memory() -> bool:
    """Whether a copy of all gradients costs little beside the products of a step."""
    return not is_cpu()


def describe_kernels() -> str | None:
    """Which kernels a CPU computes with; None on another device, which has MindSpore's alone."""
    return onednn_kernels.describe() if is_cpu() else None


def native_library() -> Path | None:
    """The compiled code of a CPU, opened; None on another device, or if there is none."""
    return onednn_kernels.opened() if is_cpu() and onednn_kernels.is_available() else None


def build_squares() -> Squares:
    """What sums the squares of a tensor."""
    return SquaresByProduct() if is_cpu() else SquaresByOperators()


def build_overflow_check() -> FloatStatus | Infinities:
    """What tells that half precision overflowed where numbers do not."""
    return FloatStatus() if not is_cpu() and card.is_saturating() else Infinities()


class Operations:
    """The precision of a network, and one of each layer without parameters.

    One for all of them, since the compiler reads the code of each instance anew: with instances of
    their own, the blocks of BEiT-base took it half as long again. With `portable` they are made of
    MindSpore's operators alone and leave the batch size open, as exported graphs must.

    MindSpore's operators for a CPU sum, broadcast and transpose slowly, and keep much memory: there
    matrix products and gathered rows stand in for them.
    """

    rows: Rows
    add: Addition
    add_scaled: ScaledAddition
    heads: Heads
    normalise: Normalisation | NormalisationByOperator | NativeNormalisation
    product: Product  # -> activations
    product_of_heads: Product  # -> operands of attention's products

    def __init__(self, precision: Precision, *, portable: bool = False) -> None:
        self.precision = precision
        on_cpu = is_cpu()
        if on_cpu:
            ones = OpenOnes() if portable else ConstantOnes()
            self.rows = RowsByProducts(ones)
            self.add_scaled = ScaledAdditionByProducts(self.rows, ones)
            self.add = AdditionByProducts(self.add_scaled, ones)
        else:
            self.rows = RowsByOperators()
            self.add_scaled = ScaledAdditionByOperators()
            self.add = AdditionByOperators()
        self.heads = HeadsByRows() if on_cpu and not portable else HeadsByTranspose()
        if on_cpu and onednn_kernels.is_available() and precision.is_float32 and not portable:
            native = NativeKernels(rounds_products=precision.rounds_products)
            kernels: Kernels = native
            softmax: Softmax | NativeSoftmax = NativeSoftmax()
            self.normalise = NativeNormalisation()
            self.product = self.product_of_heads = Product(
                native.dense, kernels=native, rows=self.rows
            )
        else:
            kernels = Kernels()
            softmax = Softmax(self.rows)
            self.normalise = Normalisation(self.rows) if on_cpu else NormalisationByOperator()
            dense = DenseByBiasAdd if on_cpu else DenseByAddition
            self.product, self.product_of_heads = (
                Product(dense(kind), kernels=kernels, rows=self.rows)
                for kind in (precision.activation, precision.product)
            )
        self.joint_projection = None if on_cpu else JointProjection(self.product_of_heads)
        self.gelu = kernels.gelu
        self.product_without_bias = ProductWithoutBias(kernels)
        self.weighted_sum = WeightedSum(
            kernels, softmax, self.rows, statistics=precision.statistics
        )
