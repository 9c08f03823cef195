"""Layers of the network. Parameters are float32 and named as in the official checkpoints (`weight`, `bias`)."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from beit_exp.model.precision import Precision

# B batch · N tokens · D width · C channels · S image side · P patch side · G patches per side
LAYER_NORM_EPS = 1e-6  # unilm/beit modeling_finetune.py; MindSpore's default is 1e-7, Hugging Face's 1e-12


def make_parameter(*shape: int, fill: float = 0.0) -> Parameter:
    """A float32 parameter; the framework names it after its attribute."""
    return Parameter(Tensor(np.full(shape, fill, dtype=np.float32)))


class Dense(nn.Cell):
    """x @ weight.T + bias over the last axis; `weight` is (out, in)."""

    def __init__(self, width_in: int, width_out: int, *, precision: Precision, has_bias: bool = True) -> None:
        super().__init__()
        self.weight = make_parameter(width_out, width_in)
        self.bias = make_parameter(width_out) if has_bias else None
        self.width_in = width_in
        self.width_out = width_out
        self.precision = precision
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, x: Tensor) -> Tensor:
        shape = x.shape
        rows = ops.reshape(x, (-1, self.width_in)).astype(self.precision.product)
        out = self.matmul(rows, self.weight.astype(self.precision.product)).astype(self.precision.activation)
        if self.bias is not None:
            out = out + self.bias.astype(self.precision.activation)
        return ops.reshape(out, (*shape[:-1], self.width_out))


class LayerNorm(nn.Cell):
    """Layer normalisation over the last axis."""

    def __init__(self, width: int, *, precision: Precision) -> None:
        super().__init__()
        self.weight = make_parameter(width, fill=1.0)
        self.bias = make_parameter(width)
        self.precision = precision
        self.layer_norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=LAYER_NORM_EPS)

    def construct(self, x_BND: Tensor) -> Tensor:
        kind = self.precision.statistics
        out, _, _ = self.layer_norm(x_BND.astype(kind), self.weight.astype(kind), self.bias.astype(kind))
        return out.astype(self.precision.activation)


class PatchProjection(nn.Cell):
    """A convolution whose stride is its kernel, as one matrix product: on a CPU 200 times as fast as `nn.Conv2d`."""

    def __init__(self, patch_size: int, width: int, *, precision: Precision) -> None:
        super().__init__()
        self.weight = make_parameter(width, 3, patch_size, patch_size)
        self.bias = make_parameter(width)
        self.patch_size = patch_size
        self.width = width
        self.precision = precision
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        side = self.patch_size
        height, width = images_BCSS.shape[2] // side, images_BCSS.shape[3] // side
        patches = ops.reshape(images_BCSS.astype(self.precision.product), (-1, 3, height, side, width, side))
        patches = ops.transpose(patches, (0, 2, 4, 1, 3, 5))  # (B, G, G, C, P, P): the weight's own order
        rows = ops.reshape(patches, (-1, 3 * side * side))
        weight = ops.reshape(self.weight, (self.width, -1)).astype(self.precision.product)
        tokens = self.matmul(rows, weight).astype(self.precision.activation)
        tokens = tokens + self.bias.astype(self.precision.activation)
        return ops.reshape(tokens, (-1, height * width, self.width))


class PatchEmbed(nn.Cell):
    """(B, 3, S, S) images -> (B, N, D) tokens, row by row."""

    def __init__(self, patch_size: int, width: int, *, precision: Precision) -> None:
        super().__init__()
        self.proj = PatchProjection(patch_size, width, precision=precision)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return self.proj(images_BCSS)


class Mlp(nn.Cell):
    """Two dense layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int, *, precision: Precision) -> None:
        super().__init__()
        self.fc1 = Dense(width, hidden, precision=precision)
        self.fc2 = Dense(hidden, width, precision=precision)

    def construct(self, x_BND: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x_BND)))


def gelu(x: Tensor) -> Tensor:
    """x/2 (1 + erf(x/√2)), exact: BEiT was trained with it, and the tanh form is off by up to 5e-4."""
    return 0.5 * x * (1.0 + ops.erf(x * (0.5**0.5)))
