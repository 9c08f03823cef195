from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from bare_kernels import COMPILED
from mindspore import Parameter, ParameterTuple, Tensor
from settings import make_config

from beit_exp.model.operations.choice import kept_weights, native_library
from beit_exp.model.operations.native import NativeDense
from beit_exp.optim.update import Optimizer
from beit_exp.train.cells import CompiledUpdate, Told, UpdateCell
from beit_exp.train.gradients import GlobalNorm, Gradients, GradientsByWeight, GradientsInBuckets
from beit_exp.train.host_update import HostUpdate

pytestmark = pytest.mark.skipif(not COMPILED.exists(), reason="no C compiler was there")

# Less than a block of csrc/update.c, one, and one and a rest
SHAPES = {"blocks.0.mlp.fc1.weight": (3, 5), "head.bias": (4096,), "head.weight": (67, 125)}
TOLD = Told(np.zeros(1), 0.0, has_overflowed=False, wants_stop=False)


def make_update(
    *overrides: str, layout: Gradients | None = None, ema_decay: float | None = 0.9, host: bool
) -> tuple[CompiledUpdate | HostUpdate, Optimizer, list[Parameter]]:
    rng = np.random.default_rng(0)
    weights = [
        Parameter(Tensor(rng.standard_normal(shape).astype(np.float32)), name=name)
        for name, shape in SHAPES.items()
    ]
    optimizer = Optimizer(make_config(*overrides).optimizer, weights, depth=1)
    parts = ParameterTuple(weights), optimizer.update, layout or GradientsByWeight()
    if not host:
        return CompiledUpdate(UpdateCell(*parts, ema_decay=ema_decay)), optimizer, weights
    library = native_library()
    assert library is not None
    return HostUpdate(library, *parts, ema_decay=ema_decay), optimizer, weights


def make_gradients(step: int, *, size: float = 1.0) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(step + 1)
    return tuple(
        Tensor((size * rng.standard_normal(shape)).astype(np.float32)) for shape in SHAPES.values()
    )


def kept(
    update: CompiledUpdate | HostUpdate, optimizer: Optimizer, weights: list[Parameter]
) -> dict[str, np.ndarray]:
    parameters = [*weights, *optimizer.update.state(), *(update.averages or ())]
    return {parameter.name: parameter.asnumpy().copy() for parameter in parameters}


@pytest.mark.parametrize("mode", [ms.PYNATIVE_MODE, ms.GRAPH_MODE])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("name", ["adamw", "adam_weight_decay", "momentum"])
def test_it_changes_what_the_operators_change(
    name: str, ema_decay: float | None, mode: int
) -> None:
    ms.set_context(mode=mode)
    settings = f"optimizer={name}", "optimizer.layer_decay=0.5", "optimizer.weight_decay=0.1"
    ends = []
    for host in (True, False):
        update, optimizer, weights = make_update(*settings, ema_decay=ema_decay, host=host)
        start = kept(update, optimizer, weights)
        for step in range(4):
            rates = optimizer.rates(0.01, 0.1, updates_done=step)
            update(0.5, rates, make_gradients(step))
        ends.append(kept(update, optimizer, weights))
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[0].items():
        assert (value != start[key]).mean() > 0.99
        # MindSpore's operator takes 1 - beta of a beta that is rounded to float32
        np.testing.assert_allclose(value, ends[1][key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_gradients_in_buckets_are_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beit_exp.train.gradients.BUCKET_BYTES", 2**15 + 4)
    ends, norms = [], []
    for in_buckets in (True, False):
        weights = make_update(host=True)[2]
        layout = GradientsInBuckets(ParameterTuple(weights), ranks=1) if in_buckets else None
        update, optimizer, weights = make_update(layout=layout, host=True)
        gradients = make_gradients(0)
        if layout is not None:
            gradients = layout.gather(gradients)
            assert len(gradients) == 2 < len(weights)
        norms.append(update.norm(TOLD, gradients))
        update(1.0, optimizer.rates(0.01, 0.1, updates_done=0), gradients)
        ends.append(kept(update, optimizer, weights))
    assert norms[0] == norms[1]
    assert all((ends[0][key] == ends[1][key]).all() for key in ends[0])


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e16])
def test_the_norm_is_exact_as_far_as_float32_holds_its_square(size: float) -> None:
    gradients = make_gradients(0, size=size)
    all_of_them = np.concatenate([each.asnumpy().ravel() for each in gradients]).astype(np.float64)
    update = make_update(host=True)[0]
    assert update.norm(TOLD, gradients) == pytest.approx(np.linalg.norm(all_of_them), rel=1e-12)


@pytest.mark.parametrize("value", [np.inf, np.nan, 2e19])
def test_a_norm_is_not_finite_where_a_device_finds_none(value: float) -> None:
    gradients = make_gradients(0)
    broken = gradients[2].asnumpy().copy()
    broken[-1, -1] = value
    gradients = (*gradients[:2], Tensor(broken))
    assert not np.isfinite(make_update(host=True)[0].norm(TOLD, gradients))
    assert not np.isfinite(GlobalNorm()(gradients).asnumpy())


def test_weights_and_moments_that_were_loaded_are_those_that_change() -> None:
    """A loaded tensor lies elsewhere than the one before."""
    update, optimizer, weights = make_update(host=True)
    rates = optimizer.rates(0.01, 0.1, updates_done=0)
    update(1.0, rates, make_gradients(0))
    first = kept(update, optimizer, weights)
    update, optimizer, weights = make_update(host=True)
    loaded = make_update(host=True)[2]
    update(1.0, rates, make_gradients(7))
    for parameter, start in zip(weights, loaded, strict=True):
        parameter.set_data(Tensor(start.asnumpy().copy()))
    for parameter in optimizer.update.state():
        parameter.set_data(Tensor(np.zeros(parameter.shape, np.float32)))
    for parameter, start in zip(update.averages, loaded, strict=True):
        parameter.set_data(Tensor(start.asnumpy().copy()))
    update(1.0, rates, make_gradients(0))
    again = kept(update, optimizer, weights)
    assert all((first[key] == again[key]).all() for key in first)


def test_what_products_keep_of_weights_ends_with_an_update() -> None:
    update, optimizer, weights = make_update(host=True)
    x, weight = Tensor(np.eye(125, dtype=np.float32)), weights[-1]
    bias, product = Tensor(np.zeros(67, np.float32)), NativeDense(rounds_products=False)
    with kept_weights():
        for step in range(2):
            found = product(x, weight, bias).asnumpy()
            np.testing.assert_allclose(found, weight.asnumpy().T, rtol=1e-6)
            update(1.0, optimizer.rates(0.1, 0.0, updates_done=step), make_gradients(step))
        found = product(x, weight, bias).asnumpy()
    np.testing.assert_allclose(found, weight.asnumpy().T, rtol=1e-6)
