"""Layer normalisation and its gradient against NumPy in float64."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.layers import LayerNorm
from beit_exp.model.operations.choice import Operations
from beit_exp.model.operations.gradients import LAYER_NORM_EPS
from beit_exp.model.precision import build_precision
from beit_exp.self_check.line import Outcome

# Of inputs: at a thousandth the variance is as small as the eps, so that one left out, or added
# twice, halves a gradient
DEVIATIONS = (1e-3, 1e-2, 1.0)
ROWS, WIDTH = 64, 768
ALLOWED = 1e-4  # of the largest; some 1e-6 on a CPU


class WeightedNorm(nn.Cell):
    """The gradients of Σ layer_norm(x) · factor by x, weight and bias."""

    def __init__(self, norm: LayerNorm) -> None:
        super().__init__(auto_prefix=False)
        self.norm = norm
        self.grad = ops.grad(self.total, 0, (norm.weight, norm.bias))

    def total(self, x_RD: Tensor, factor_RD: Tensor) -> Tensor:
        return (self.norm(x_RD) * factor_RD).sum()

    def construct(self, x_RD: Tensor, factor_RD: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """-> (normalised, gradient by x, by the weight, by the bias)."""
        grad_x_RD, (grad_weight_D, grad_bias_D) = self.grad(x_RD, factor_RD)
        return self.norm(x_RD), grad_x_RD, grad_weight_D, grad_bias_D


def check_layer_norm() -> Outcome:
    """The layer that the network has, on rows of several deviations."""
    rng = np.random.default_rng(0)
    norm = LayerNorm(WIDTH, Operations(build_precision("O0", half=ms.float32)))
    weight = rng.normal(1, 0.2, WIDTH).astype(np.float32)
    bias = rng.normal(0, 0.2, WIDTH).astype(np.float32)
    norm.weight.set_data(Tensor(weight))
    norm.bias.set_data(Tensor(bias))
    cell = WeightedNorm(norm)
    worst = {}
    for deviation in DEVIATIONS:
        x_RD = rng.normal(0, deviation, (ROWS, WIDTH)).astype(np.float32)
        factor_RD = rng.normal(0, 1, (ROWS, WIDTH)).astype(np.float32)
        found = [each.asnumpy() for each in cell(Tensor(x_RD), Tensor(factor_RD))]
        expected = exact(x_RD, weight, bias, factor_RD)
        worst[deviation] = max(
            float(np.abs(one - other).max() / np.abs(other).max())
            for one, other in zip(found, expected, strict=True)
        )
    passed = all(difference <= ALLOWED for difference in worst.values())
    each = ", ".join(f"{value:.1e} at {deviation:g}" for deviation, value in worst.items())
    seen = f"differs by {each} (deviation of the input; at most {ALLOWED:.0e})"
    return Outcome(passed, seen)


def exact(
    x_RD: np.ndarray, weight_D: np.ndarray, bias_D: np.ndarray, factor_RD: np.ndarray
) -> tuple[np.ndarray, ...]:
    """What `WeightedNorm` is to find, in float64 (Ba et al., arXiv 1607.06450, and its chain rule).

    With h = (x - mean) · s, s = 1 / √(variance + eps) and g = factor · weight, the gradient by x is
    s · (g - mean(g) - h · mean(g · h)).
    """
    x_RD, factor_RD = x_RD.astype(np.float64), factor_RD.astype(np.float64)
    scale_R1 = 1 / np.sqrt(x_RD.var(axis=1, keepdims=True) + LAYER_NORM_EPS)
    hat_RD = (x_RD - x_RD.mean(axis=1, keepdims=True)) * scale_R1
    g_RD = factor_RD * weight_D
    slope_R1 = (g_RD * hat_RD).mean(axis=1, keepdims=True)
    grad_x_RD = scale_R1 * (g_RD - g_RD.mean(axis=1, keepdims=True) - hat_RD * slope_R1)
    return hat_RD * weight_D + bias_D, grad_x_RD, (factor_RD * hat_RD).sum(0), factor_RD.sum(0)
