from __future__ import annotations

import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor

from beit_exp.train import gradients
from beit_exp.train.gradients import GlobalNorm, GradientsByWeight, GradientsInBuckets, fill_buckets

SHAPES = [(3, 4), (5,), (), (2, 2, 2)]


@pytest.fixture
def several() -> tuple[Tensor, ...]:
    rng = np.random.default_rng(0)
    return tuple(Tensor(np.asarray(rng.standard_normal(shape), np.float32)) for shape in SHAPES)


@pytest.fixture
def weights(several: tuple[Tensor, ...]) -> ParameterTuple:
    return ParameterTuple([Parameter(value, name=f"w{n}") for n, value in enumerate(several)])


@pytest.mark.parametrize(
    ("sizes", "room", "expected"),
    [
        ([1, 1, 1], 10, [(0, 3)]),
        ([4, 4, 4], 8, [(1, 3), (0, 1)]),
        ([9, 1, 1], 4, [(1, 3), (0, 1)]),  # one that is too large has a bucket of its own
        ([1, 9, 1], 4, [(2, 3), (1, 2), (0, 1)]),
    ],
)
def test_buckets_are_filled_from_the_last_weight_to_the_first(
    sizes: list[int], room: int, expected: list[tuple[int, int]], monkeypatch
) -> None:
    monkeypatch.setattr(gradients, "BUCKET_BYTES", 4 * room)
    assert fill_buckets(sizes) == expected


def test_buckets_are_taken_apart_into_what_was_put_in(
    several: tuple[Tensor, ...], weights: ParameterTuple, monkeypatch
) -> None:
    monkeypatch.setattr(gradients, "BUCKET_BYTES", 4 * 10)
    layout = GradientsInBuckets(weights, ranks=1)
    buckets = layout.gather(several)
    assert [bucket.shape for bucket in buckets] == [(9,), (5,), (12,)]
    for found, put in zip(layout.take_apart(buckets), several, strict=True):
        np.testing.assert_array_equal(found.asnumpy(), put.asnumpy())


def test_the_norm_is_that_of_all_gradients_however_they_lie(
    several: tuple[Tensor, ...], weights: ParameterTuple
) -> None:
    exact = np.sqrt(sum((value.asnumpy().astype(np.float64) ** 2).sum() for value in several))
    for layout in (GradientsByWeight(), GradientsInBuckets(weights, ranks=1)):
        found = GlobalNorm()(layout.gather(several)).asnumpy()
        np.testing.assert_allclose(found, exact, rtol=1e-6)
