"""What the layers of one network compute with, chosen by device and precision."""

from __future__ import annotations

from beit_exp.model.operations import onednn_kernels
from beit_exp.model.operations.gradients import (
    Normalisation,
    Product,
    ProductWithoutBias,
    ScaledAddition,
    WeightedSum,
)
from beit_exp.model.operations.heads import MergeHeads, Permutation, SplitHeads
from beit_exp.model.operations.mindspore_kernels import Kernels
from beit_exp.model.operations.rows import Ones, Rows, Transposition
from beit_exp.model.precision import Precision


class Operations:
    """The precision of a network, and one of each layer without parameters.

    One for all of them, since the compiler reads the code of each instance anew: with instances of
    their own, the blocks of BEiT-base took it half as long again. With `portable` they are made of
    MindSpore's operators alone and leave the batch size open, as exported graphs must.
    """

    def __init__(self, precision: Precision, *, portable: bool = False) -> None:
        self.precision = precision
        is_native = onednn_kernels.is_available() and precision.is_float32 and not portable
        kernels = (
            onednn_kernels.NativeKernels(rounds_products=precision.rounds_products)
            if is_native
            else Kernels()
        )
        permute = Permutation()
        self.ones = Ones(has_open_batch=portable)
        self.rows = Rows(self.ones)
        self.transposed = Transposition()
        self.product = Product(kernels, self.rows)
        self.product_without_bias = ProductWithoutBias(kernels)
        self.gelu = kernels.gelu
        self.normalise = (
            onednn_kernels.NativeNormalisation() if is_native else Normalisation(self.rows)
        )
        self.add_scaled = ScaledAddition(self.rows)
        self.split_heads = SplitHeads(permute, has_open_batch=portable)
        self.merge_heads = MergeHeads(permute, has_open_batch=portable)
        self.weighted_sum = WeightedSum(kernels, self.rows, precision.statistics)
