"""What a device reaches at most: matrix products, as a network has them, by themselves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import Tensor

from beit_exp.config.schema import Config
from beit_exp.model.cost import forward_flops
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import Precision, build_precision

PRODUCT_SIDES = (512, 1024, 2048, 4096, 8192)
PRODUCTS_IN_A_ROW = 4
LONG_ENOUGH_S = 0.2
BACKWARD_FLOPS = 2  # times those of the forward pass: a product for each operand's gradient


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


def shares_of_peak(
    cfg: Config, found: dict[str, float], *, half: Any, ranks: int, step_images: int
) -> dict[str, float]:
    """Model FLOPs per second of one device, and their share of what its matrix products reach."""
    precision = build_precision(cfg.hardware.amp_level, half=half)
    peak = product_flops_per_s(precision, repeats=cfg.benchmark.repeats)
    forward = forward_flops(cfg.model, num_classes=cfg.dataset.num_classes)
    shares = {
        "forward_gflops_per_image": forward / 1e9,
        "product_peak_gflops_per_s": peak / 1e9,
    }
    if "step_s" in found:
        speed = (1 + BACKWARD_FLOPS) * forward * step_images / found["step_s"]
        shares |= {"step_gflops_per_s": speed / 1e9, "step_percent_of_peak": 100 * speed / peak}
    if "inference_images_per_s" in found:
        speed = forward * found["inference_images_per_s"] / ranks
        shares["inference_percent_of_peak"] = 100 * speed / peak
    return shares
