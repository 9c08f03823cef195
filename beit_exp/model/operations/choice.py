"""What the layers of one network compute with: the one place that asks for the device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import mindspore as ms

from beit_exp.hardware import card
from beit_exp.model.operations import onednn_kernels
from beit_exp.model.operations.additions import (
    Addition,
    AdditionByOperators,
    AdditionOnCpu,
    ScaledAddition,
    ScaledAdditionByOperators,
    ScaledAdditionByProducts,
    ScaledAdditionByRows,
)
from beit_exp.model.operations.attending import Attending, AttentionOfHeads, AttentionOfRows
from beit_exp.model.operations.gradients import (
    Normalisation,
    NormalisationByOperator,
    Product,
    ProductWithoutBias,
    Softmax,
    WeightedSum,
)
from beit_exp.model.operations.heads import Heads, HeadsByRows, HeadsByTranspose
from beit_exp.model.operations.mindspore_kernels import DenseByAddition, DenseByBiasAdd, Kernels
from beit_exp.model.operations.mlp import LayersBetween, MlpByLayers
from beit_exp.model.operations.native import (
    NativeAttention,
    NativeDense,
    NativeMlp,
    NativeNormalisation,
    NativeProducts,
    NativeProjections,
    NativeScaledAddition,
)
from beit_exp.model.operations.overflow import FloatStatus, Infinities
from beit_exp.model.operations.projections import (
    JointProjection,
    Projections,
    ProjectionsOfRows,
    SeparateProjections,
)
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


def kept_weights() -> AbstractContextManager[None]:
    """While its block runs no weight may change: a CPU's compiled operators keep them in order."""
    if native_library() is None:
        return nullcontext()
    return onednn_kernels.kept_weights()


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
    normalise: Normalisation | NormalisationByOperator | NativeNormalisation
    product: Product | NativeDense
    project: Projections
    attend: Attending
    mlp: LayersBetween

    def __init__(self, precision: Precision, *, portable: bool = False) -> None:
        self.precision = precision
        if not is_cpu():
            self.build_for_a_card()
        elif onednn_kernels.is_available() and precision.is_float32 and not portable:
            self.build_compiled()
        else:
            self.build_for_a_cpu(portable=portable)

    def build_compiled(self) -> None:
        """A CPU's compiled operators."""
        rounds, ones = self.precision.rounds_products, ConstantOnes()
        products = NativeProducts(rounds_products=rounds)
        self.rows = RowsByProducts(ones)
        self.add_scaled = ScaledAdditionByRows(NativeScaledAddition(), ones)
        self.add = AdditionOnCpu(self.add_scaled, ones)
        self.normalise = NativeNormalisation()
        self.product = NativeDense(rounds_products=rounds)
        self.product_without_bias = ProductWithoutBias(products)
        self.project = ProjectionsOfRows(NativeProjections(rounds_products=rounds))
        self.attend = AttentionOfRows(NativeAttention(rounds_products=rounds))
        self.mlp = NativeMlp(rounds_products=rounds)

    def build_for_a_cpu(self, *, portable: bool) -> None:
        """MindSpore's operators, those that a CPU is fast at."""
        ones = OpenOnes() if portable else ConstantOnes()
        self.rows = RowsByProducts(ones)
        self.add_scaled = ScaledAdditionByProducts(self.rows, ones)
        self.add = AdditionOnCpu(self.add_scaled, ones)
        self.normalise = Normalisation(self.rows)
        heads = HeadsByTranspose() if portable else HeadsByRows()
        product_of_heads = self.build_products(DenseByBiasAdd, heads)
        self.project = SeparateProjections(product_of_heads, self.product_without_bias, heads)

    def build_for_a_card(self) -> None:
        """MindSpore's operators, few of them."""
        self.rows = RowsByOperators()
        self.add_scaled = ScaledAdditionByOperators()
        self.add = AdditionByOperators()
        self.normalise = NormalisationByOperator()
        self.project = JointProjection(self.build_products(DenseByAddition, HeadsByTranspose()))

    def build_products(
        self, dense: type[DenseByBiasAdd | DenseByAddition], heads: Heads
    ) -> Product:
        """All that multiplies by MindSpore's operators; -> what gives operands of attention's."""
        precision, kernels = self.precision, Kernels()
        self.product, product_of_heads = (
            Product(dense(kind), kernels=kernels, rows=self.rows)
            for kind in (precision.activation, precision.product)
        )
        self.product_without_bias = ProductWithoutBias(kernels)
        statistics = precision.statistics
        weighted_sum = WeightedSum(kernels, Softmax(self.rows), self.rows, statistics=statistics)
        self.attend = AttentionOfHeads(weighted_sum, heads, statistics=statistics)
        self.mlp = MlpByLayers(self.product, kernels.gelu, kind=precision.product)
        return product_of_heads
