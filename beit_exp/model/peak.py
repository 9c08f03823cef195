"""What a device reaches at most: matrix products, as a network has them, by themselves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from mindspore import Tensor

from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import Precision

PRODUCT_SIDES = (512, 1024, 2048, 4096, 8192)
PRODUCTS_IN_A_ROW = 4
LONG_ENOUGH_S = 0.2


def product_flops_per_s(precision: Precision, *, repeats: int) -> float:
    """The best of square matrix products of growing sides, until one takes long enough to be sure.

    They are products as the network has them, of the same precision.
    """
    product = Operations(precision).product_without_bias
    best = 0.0
    for side in PRODUCT_SIDES:
        numbers = (
            np.random.default_rng(0).standard_normal((side, side), dtype=np.float32) / side**0.5
        )
        left = Tensor(numbers).astype(precision.product)

        def multiply(left: Tensor = left) -> None:
            found = left
            for _ in range(PRODUCTS_IN_A_ROW):
                found = product(found, left)
            found[0, 0].asnumpy()  # waits for the device

        took = statistics.median(timed(multiply, warm_up=1, repeats=repeats))
        best = max(best, PRODUCTS_IN_A_ROW * 2 * side**3 / took)
        if took > LONG_ENOUGH_S:
            break
    return best


def timed(action: Callable[[], object], *, warm_up: int, repeats: int) -> list[float]:
    """Seconds of each repeat, after the warm-up."""
    for _ in range(warm_up):
        action()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return taken
