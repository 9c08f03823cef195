"""Mixed precision as an explicit policy: what is cast, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import mindspore as ms
from mindspore import ops
from typing_extensions import assert_never

cast = ops.Cast()  # a Tensor's method is several functions to compile


@dataclass(frozen=True)
class Precision:
    """Element types of three kinds of computation; parameters, loss and optimizer stay float32."""

    product: Any  # operands of matrix products
    activation: Any  # what flows from layer to layer
    statistics: Any  # layer norm and softmax
    rounds_products: bool = False  # operands are float32, and a product rounds them itself

    @property
    def is_float32(self) -> bool:
        """Whether every tensor is."""
        return {self.product, self.activation, self.statistics} == {ms.float32}


def build_precision(level: Literal["O0", "O1", "O2", "O3"], *, half: Any) -> Precision:
    """The policy of an amp level, `half` being the device's half precision.

    O0: float32. O1: products in half precision. O2: activations too. O3: layer norm and softmax
    too. A device whose half precision is float32 has no faster tensors; its products round their
    operands to bfloat16, from O1 on.
    """
    if half is ms.float32 and level != "O0":
        return Precision(ms.float32, ms.float32, ms.float32, rounds_products=True)
    match level:
        case "O0":
            return Precision(ms.float32, ms.float32, ms.float32)
        case "O1":
            return Precision(half, ms.float32, ms.float32)
        case "O2":
            return Precision(half, half, ms.float32)
        case "O3":
            return Precision(half, half, half)
        case _:
            assert_never(level)
