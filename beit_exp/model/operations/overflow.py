"""Whether a computation in half precision went over the largest number."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops.operations.math_ops import NPUClearFloatStatusV2, NPUGetFloatStatusV2


class FloatStatus(nn.Cell):
    """The status register of a card whose products saturate: an Atlas training card, as the 910A.

    What overflows there becomes the largest number, and not infinity, so that no gradient shows it.
    The card remembers it instead, until it is told to forget. As MindSpore's own `amp.all_finite`
    and `TrainOneStepWithLossScaleCell` use these operators.
    """

    def __init__(self) -> None:
        super().__init__()
        self.get = NPUGetFloatStatusV2()
        self.clear = NPUClearFloatStatusV2()
        self.empty = Tensor(np.zeros(8, np.int32))

    def cleared_before(self, x: Tensor) -> Tensor:
        """-> x; what is computed from it is watched."""
        return ops.depend(x, self.clear(ops.depend(self.empty, x)))

    def found_after(self, x: Tensor) -> Tensor:
        """-> () float32, 1 if something went over on the way to x."""
        status = self.get(ops.depend(self.empty, x))
        return ops.reduce_max(ops.cast(ops.not_equal(status, 0), ms.float32))


class Infinities(nn.Cell):
    """Any other device: what overflows becomes infinity, and with it the norm of the gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.none = Tensor(np.float32(0))

    def cleared_before(self, x: Tensor) -> Tensor:
        return x

    def found_after(self, x: Tensor) -> Tensor:
        return self.none
