from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor
from settings import make_config

from beit_exp.optim.schedule import build_weight_decays
from beit_exp.optim.state import state_names
from beit_exp.optim.update import Optimizer
from beit_exp.train.cells import UpdateCell
from beit_exp.train.gradients import GradientsByWeight


def run_updates(
    *overrides: str, steps: int, lr: float
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Initial and final value of one matrix after updates with given gradients."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4)).astype(np.float32)
    gradients = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(steps)]
    weight = Parameter(Tensor(start), name="head.weight")
    optimizer = Optimizer(make_config(*overrides).optimizer, [weight], depth=1)
    update = UpdateCell(
        ParameterTuple([weight]),
        optimizer.update,
        GradientsByWeight(),
        ema_decay=None,
    )
    decays = build_weight_decays(optimizer.cfg, total_steps=steps)
    for step, gradient in enumerate(gradients):
        rates = optimizer.rates(lr, decays[step], updates_done=step)
        update(None, Tensor(rates), Tensor(gradient))
    return start.astype(np.float64), weight.asnumpy(), gradients


@pytest.mark.parametrize("mode", [ms.PYNATIVE_MODE, ms.GRAPH_MODE])
def test_adamw_is_the_textbook_one(mode: int) -> None:
    ms.set_context(mode=mode)
    w, final, gradients = run_updates("optimizer.weight_decay=0.1", steps=30, lr=0.01)
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - 0.01 * 0.1)
        w = w - 0.01 / (1 - 0.9**t) * m / (np.sqrt(v) / np.sqrt(1 - 0.999**t) + 1e-8)
    np.testing.assert_allclose(final, w, atol=5e-6)


def test_weight_decay_is_that_of_the_step_and_spares_what_has_none() -> None:
    w, final, gradients = run_updates(
        "optimizer.weight_decay=0.1", "optimizer.weight_decay_end=2.0", steps=30, lr=0.01
    )
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        decay = 2.0 - 0.5 * 1.9 * (1 + np.cos(np.pi * (t - 1) / 30))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - 0.01 * decay)
        w = w - 0.01 / (1 - 0.9**t) * m / (np.sqrt(v) / np.sqrt(1 - 0.999**t) + 1e-8)
    np.testing.assert_allclose(final, w, atol=5e-6)
    names = ["head.weight", "pos_embed"]
    parameters = [Parameter(Tensor(np.ones((2, 2), np.float32)), name=name) for name in names]
    optimizer = Optimizer(make_config("optimizer=momentum").optimizer, parameters, depth=1)
    assert optimizer.rates(0.1, 0.5, updates_done=3)[2].tolist() == [0.5, 0.0]


def test_adam_weight_decay_has_no_bias_correction() -> None:
    w, final, (g,) = run_updates(
        "optimizer=adam_weight_decay", "optimizer.weight_decay=0.1", steps=1, lr=0.01
    )
    step = 0.1 * g / (np.sqrt(0.001 * g.astype(np.float64) ** 2) + 1e-6) + 0.1 * w
    np.testing.assert_allclose(final, w - 0.01 * step, atol=1e-6)


def test_momentum_is_torchs_sgd() -> None:
    w, final, gradients = run_updates(
        "optimizer=momentum", "optimizer.weight_decay=0.01", steps=5, lr=0.1
    )
    velocity = np.zeros_like(w)
    for g in gradients:
        velocity = 0.9 * velocity + g + 0.01 * w
        w = w - 0.1 * velocity
    np.testing.assert_allclose(final, w, atol=1e-5)


def test_rates_of_the_groups_differ_by_layer_decay() -> None:
    names = ["cls_token", "blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc1.weight", "head.weight"]
    parameters = [Parameter(Tensor(np.ones((2, 2), np.float32)), name=name) for name in names]
    cfg = make_config("optimizer.layer_decay=0.5", "optimizer=adam_weight_decay").optimizer
    rates = Optimizer(cfg, parameters, depth=2).rates(0.8, 0.05, updates_done=0)
    np.testing.assert_allclose(rates[0], [0.1, 0.2, 0.4, 0.8], rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam_weight_decay", "momentum"])
def test_an_optimizer_keeps_the_tensors_that_it_is_said_to(name: str) -> None:
    cfg = make_config(f"optimizer={name}").optimizer
    parameters = [Parameter(Tensor(np.ones((2, 3), np.float32)), name=name) for name in "ab"]
    state = Optimizer(cfg, parameters, depth=2).update.state()
    expected = [f"{kept}/{name}" for kept in state_names(cfg) for name in "ab"]
    assert [tensor.name for tensor in state] == expected
    assert {tensor.shape for tensor in state} == {(2, 3)}
