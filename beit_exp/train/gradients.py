"""The gradients of a step between its backward pass and its update: summed over ranks, measured."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

from mindspore import ParameterTuple, Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from beit_exp.model.operations.choice import build_squares, has_fast_memory

BUCKET_BYTES = 32 * 2**20  # PyTorch's DistributedDataParallel takes 25 MB
FLOAT32_BYTES = 4


class GlobalNorm(nn.Cell):
    """The Euclidean norm of all gradients together, however they lie."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.squares = build_squares()
        self.map = ops.HyperMap()  # over all weights: a loop takes the compiler ten times as long

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """-> ()."""
        return ops.sqrt(ops.addn(self.map(self.squares, gradients)))


class GradientsByWeight(nn.Cell):
    """One process on a CPU, where memory is slow: gradients stay where they are."""

    def gather(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return gradients

    def take_apart(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return gradients


class GradientsInBuckets(nn.Cell):
    """Several processes, or a card: gradients lie end to end in a few long vectors.

    So a bucket takes one all-reduce, one sum of squares and one product with the clipping factor
    instead of one for each weight. Those of the last layers come first: they are complete while the
    backward pass is still at the others (Li et al., arXiv 2006.15704, 3.2).
    """

    def __init__(self, weights: ParameterTuple, *, ranks: int) -> None:
        super().__init__(auto_prefix=False)
        self.weights = weights
        sizes = [int(weight.size) for weight in weights]
        # Places of a first weight and after a last one, and the sizes of those between
        self.buckets = [
            (first, last, tuple(sizes[first:last])) for first, last in fill_buckets(sizes)
        ]
        self.all_reduce = ops.AllReduce() if ranks > 1 else None
        self.split = SplitWithSize()  # ops.split takes as many launches as there are parts
        self.map = ops.HyperMap()

    def gather(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of each weight -> buckets, summed over the ranks."""
        flat = self.map(self.flatten, gradients)
        buckets: tuple[Tensor, ...] = ()
        for first, last, _ in self.buckets:
            bucket = ops.concat(flat[first:last])
            buckets += (bucket if self.all_reduce is None else self.all_reduce(bucket),)
        return buckets

    def take_apart(self, buckets: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Buckets -> of each weight."""
        flat: tuple[Tensor, ...] = ()
        for number, (_, _, sizes) in enumerate(self.buckets):
            flat = self.split(buckets[number], sizes, 0) + flat
        return self.map(self.shape_as, flat, self.weights)

    def flatten(self, gradient: Tensor) -> Tensor:
        return ops.reshape(gradient, (-1,))

    def shape_as(self, flat: Tensor, weight: Tensor) -> Tensor:
        return ops.reshape(flat, weight.shape)


Gradients: TypeAlias = GradientsByWeight | GradientsInBuckets


def build_gradients(weights: ParameterTuple, *, ranks: int) -> Gradients:
    """How gradients are kept between the backward pass and the update."""
    if ranks > 1 or has_fast_memory():
        return GradientsInBuckets(weights, ranks=ranks)
    return GradientsByWeight()


def fill_buckets(sizes: list[int]) -> list[tuple[int, int]]:
    """Neighbours that fill a bucket, or one that is larger, from the last to the first."""
    ends = [len(sizes)]
    room = BUCKET_BYTES
    for place in reversed(range(len(sizes))):
        need = sizes[place] * FLOAT32_BYTES
        if need > room and ends[-1] > place + 1:
            ends.append(place + 1)
            room = BUCKET_BYTES
        room -= need
    return [(first, last) for last, first in pairwise([*ends, 0])]
