"""Layers of the network.

Parameters are float32 and named as in the official checkpoints (`weight`, `bias`).
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import cast

# B batch · N tokens · D width · C channels · S image side · P patch side · G patches per side


def make_parameter(*shape: int, fill: float = 0.0) -> Parameter:
    """A float32 parameter; the framework names it after its attribute."""
    return Parameter(Tensor(np.full(shape, fill, dtype=np.float32)))


class Dense(nn.Cell):
    """x @ weight.T + bias over the last axis; `weight` is (out, in)."""

    def __init__(self, width_in: int, width_out: int, operations: Operations) -> None:
        super().__init__()
        self.weight = make_parameter(width_out, width_in)
        self.bias = make_parameter(width_out)
        self.width_in = width_in
        self.width_out = width_out
        self.precision = operations.precision
        self.product = operations.product

    def construct(self, x: Tensor) -> Tensor:
        kind = self.precision.product
        rows = cast(ops.reshape(x, (-1, self.width_in)), kind)
        out = self.product(rows, cast(self.weight, kind), self.bias)
        return ops.reshape(out, (*x.shape[:-1], self.width_out))


class Weights(nn.Cell):
    """The parameters of a dense layer that is part of a larger operation."""

    def __init__(self, width_in: int, width_out: int, *, has_bias: bool = True) -> None:
        super().__init__()
        self.weight = make_parameter(width_out, width_in)
        self.bias = make_parameter(width_out) if has_bias else None


class DenseWithoutBias(nn.Cell):
    """x @ weight.T over the last axis; `weight` is (out, in)."""

    def __init__(self, width_in: int, width_out: int, operations: Operations) -> None:
        super().__init__()
        self.weight = make_parameter(width_out, width_in)
        self.width_in = width_in
        self.width_out = width_out
        self.precision = operations.precision
        self.product = operations.product_without_bias

    def construct(self, x: Tensor) -> Tensor:
        kind = self.precision.product
        rows = cast(ops.reshape(x, (-1, self.width_in)), kind)
        out = self.product(rows, cast(self.weight, kind))
        return ops.reshape(out, (*x.shape[:-1], self.width_out))


class LayerNorm(nn.Cell):
    """Layer normalisation over the last axis."""

    def __init__(self, width: int, operations: Operations) -> None:
        super().__init__()
        self.weight = make_parameter(width, fill=1.0)
        self.bias = make_parameter(width)
        self.width = width
        self.precision = operations.precision
        self.normalise = operations.normalise

    def construct(self, x: Tensor) -> Tensor:
        kind = self.precision.statistics
        rows = cast(ops.reshape(x, (-1, self.width)), kind)
        out = self.normalise(rows, cast(self.weight, kind), cast(self.bias, kind))[0]
        return cast(ops.reshape(out, x.shape), self.precision.activation)


class PatchProjection(nn.Cell):
    """A convolution whose stride is its kernel, as one matrix product.

    On a CPU 200 times as fast as `nn.Conv2d`.
    """

    def __init__(
        self, patch_size: int, width: int, operations: Operations, *, channels: int
    ) -> None:
        super().__init__()
        self.weight = make_parameter(width, channels, patch_size, patch_size)
        self.bias = make_parameter(width)
        self.channels = channels
        self.patch_size = patch_size
        self.width = width
        self.precision = operations.precision
        self.product = operations.product

    def construct(self, images_BCSS: Tensor) -> Tensor:
        side, channels = self.patch_size, self.channels
        height, width = images_BCSS.shape[2] // side, images_BCSS.shape[3] // side
        patches = ops.reshape(
            cast(images_BCSS, self.precision.product), (-1, channels, height, side, width, side)
        )
        # (B, G, G, C, P, P): the weight's own order
        patches = ops.transpose(patches, (0, 2, 4, 1, 3, 5))
        rows = ops.reshape(patches, (-1, channels * side * side))
        weight = cast(ops.reshape(self.weight, (self.width, -1)), self.precision.product)
        tokens = self.product(rows, weight, self.bias)
        return ops.reshape(tokens, (-1, height * width, self.width))


class PatchEmbed(nn.Cell):
    """(B, C, S, S) images -> (B, N, D) tokens, row by row."""

    def __init__(
        self, patch_size: int, width: int, operations: Operations, *, channels: int
    ) -> None:
        super().__init__()
        self.proj = PatchProjection(patch_size, width, operations, channels=channels)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return self.proj(images_BCSS)


class Mlp(nn.Cell):
    """Two dense layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int, operations: Operations) -> None:
        super().__init__()
        self.fc1 = Weights(width, hidden)
        self.fc2 = Weights(hidden, width)
        self.width = width
        self.precision = operations.precision
        self.apply_to_rows = operations.mlp

    def construct(self, x_BND: Tensor) -> Tensor:
        rows = cast(ops.reshape(x_BND, (-1, self.width)), self.precision.product)
        first, second = self.fc1, self.fc2
        out = self.apply_to_rows(rows, first.weight, first.bias, second.weight, second.bias)[0]
        return ops.reshape(out, x_BND.shape)


class MeanPooling(nn.Cell):
    """(B, N, D) tokens -> (B, D): the mean of the patches' alone, normalised after it."""

    def __init__(self, width: int, operations: Operations) -> None:
        super().__init__()
        self.fc_norm = LayerNorm(width, operations)
        self.precision = operations.precision

    def construct(self, x_BND: Tensor) -> Tensor:
        return self.fc_norm(cast(x_BND[:, 1:], self.precision.statistics).mean(axis=1))


class ClassTokenPooling(nn.Cell):
    """(B, N, D) tokens -> (B, D): all are normalised, and the class token is taken."""

    def __init__(self, width: int, operations: Operations) -> None:
        super().__init__()
        self.norm = LayerNorm(width, operations)

    def construct(self, x_BND: Tensor) -> Tensor:
        return self.norm(x_BND)[:, 0]
