from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from conftest import GOLDEN, agree, make_config
from mindspore import Parameter, Tensor

from beit_exp.optim.groups import has_weight_decay, layer_of, lr_scale, make_groups
from beit_exp.optim.schedule import build_schedule
from beit_exp.optim.state import state_names
from beit_exp.optim.update import Optimizer


def schedule_of(
    *overrides: str, epochs: int = 10, steps_per_epoch: int = 5, peak_lr: float = 1.0
) -> np.ndarray:
    cfg = make_config(f"train.epochs={epochs}", "optimizer.base_lr=1", *overrides)
    return build_schedule(
        cfg.scheduler, peak_lr=peak_lr, epochs=epochs, steps_per_epoch=steps_per_epoch
    )


@pytest.mark.parametrize("name", ["seed_recipe", "short"])
def test_cosine_is_the_official_table(name: str) -> None:
    golden = json.loads((GOLDEN / "cosine_lr.json").read_text())[name]
    table = schedule_of(
        f"scheduler.warmup_length={golden['warmup_epochs']}",
        f"scheduler.min_lr={golden['min_lr']}",
        epochs=golden["epochs"],
        steps_per_epoch=golden["steps_per_epoch"],
        peak_lr=golden["base_lr"],
    )
    agree("cosine table", table[golden["steps"]], golden["lr"], within=1e-12)


def test_warmup_starts_at_its_own_rate_and_ends_at_the_peak() -> None:
    table = schedule_of("scheduler.warmup_length=2", "scheduler.warmup_lr=1e-4")
    assert (table[0], table[9], table[10]) == (1e-4, 1.0, 1.0)


def test_constant_stays_at_the_peak() -> None:
    assert (schedule_of("scheduler=constant", "scheduler.warmup_length=0") == 1.0).all()


def test_exponential_decays_by_its_rate_per_period() -> None:
    table = schedule_of(
        "scheduler=exponential", "scheduler.warmup_length=0", "scheduler.decay_epochs=2"
    )
    np.testing.assert_allclose(table[[0, 10, 20]], [1, 0.1, 0.01])


def test_multistep_decays_at_its_milestones() -> None:
    table = schedule_of(
        "scheduler=multistep", "scheduler.milestones=[4,8]", "scheduler.warmup_length=1"
    )
    np.testing.assert_allclose(table[[19, 20, 39, 40]], [1, 0.1, 0.1, 0.01])


def test_decay_does_not_go_below_the_least_rate() -> None:
    table = schedule_of(
        "scheduler=multistep", "scheduler.milestones=[4,8]", "scheduler.min_lr=0.05"
    )
    assert table[-1] == 0.05


def test_cooldown_is_the_last_epochs_of_the_run() -> None:
    table = schedule_of("scheduler.cooldown_epochs=3", "scheduler.min_lr=0.01")
    assert len(table) == 50
    assert (table[-15:] == 0.01).all()
    assert table[-16] > 0.01


@pytest.mark.parametrize("setting", ["beit_base_patch16_224", "beit_large_patch16_224"])
def test_groups_are_the_official_ones(setting: str) -> None:
    golden = json.loads((GOLDEN / "layer_decay.json").read_text())
    key = next(key for key in golden if key.startswith(setting))
    layer_decay, weight_decay = (float(part.split("=")[1]) for part in key.split(" ")[1:])
    depth = 12 if "base" in setting else 24
    dims = dict.fromkeys(golden[key], 1)
    for name in dims:
        if name.endswith((".weight", "_table")) and "norm" not in name:
            dims[name] = 2
        if name in ("cls_token", "pos_embed"):
            dims[name] = 3
    groups = make_groups(
        list(dims.items()), depth=depth, layer_decay=layer_decay, weight_decay=weight_decay
    )
    found = {name: [group.lr_scale, group.weight_decay] for group in groups for name in group.names}
    assert found.keys() == golden[key].keys()
    for name, expected in golden[key].items():
        agree("layer and weight decay per parameter", found[name], expected, within=1e-12)


def test_base_has_28_groups_that_hold_every_parameter_once() -> None:
    golden = json.loads((GOLDEN / "layer_decay.json").read_text())
    names = list(next(iter(golden.values())))
    parameters = [
        (name, 1 if name.endswith("bias") or "gamma" in name or "norm" in name else 2)
        for name in names
    ]
    groups = make_groups(parameters, depth=12, layer_decay=0.85, weight_decay=1e-8)
    assert sorted(name for group in groups for name in group.names) == sorted(names)
    assert len(groups) == 28


def test_head_keeps_full_learning_rate_under_layer_decay() -> None:
    assert lr_scale("head.weight", depth=12, decay=0.65) == 1
    assert lr_scale("fc_norm.bias", depth=12, decay=0.65) == 1
    assert lr_scale("blocks.11.norm1.weight", depth=12, decay=0.65) == 0.65
    assert lr_scale("patch_embed.proj.weight", depth=12, decay=0.65) == pytest.approx(
        0.0036972, rel=1e-4
    )


def test_shared_bias_belongs_to_the_heads_layer() -> None:
    assert layer_of("rel_pos_bias.relative_position_bias_table", depth=12) == 13


def test_tables_are_decayed_and_vectors_are_not() -> None:
    assert has_weight_decay("blocks.0.rel_pos.relative_position_bias_table", ndim=2)
    assert not has_weight_decay("blocks.0.gamma_1", ndim=1)
    assert not has_weight_decay("pos_embed", ndim=3)


def run_updates(
    *overrides: str, steps: int, lr: float
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Initial and final value of one matrix after updates with given gradients."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4)).astype(np.float32)
    gradients = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(steps)]
    weight = Parameter(Tensor(start), name="head.weight")
    optimizer = Optimizer(make_config(*overrides).optimizer, [weight], depth=1)
    for step, gradient in enumerate(gradients):
        optimizer.update((Tensor(gradient),), Tensor(optimizer.rates(lr, updates_done=step)))
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
    rates = Optimizer(cfg, parameters, depth=2).rates(0.8, updates_done=0)
    np.testing.assert_allclose(rates[0], [0.1, 0.2, 0.4, 0.8], rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam_weight_decay", "momentum"])
def test_an_optimizer_keeps_the_tensors_that_it_is_said_to(name: str) -> None:
    cfg = make_config(f"optimizer={name}").optimizer
    parameters = [Parameter(Tensor(np.ones((2, 3), np.float32)), name=name) for name in "ab"]
    state = Optimizer(cfg, parameters, depth=2).update.state()
    expected = [f"{kept}/{name}" for kept in state_names(cfg) for name in "ab"]
    assert [tensor.name for tensor in state] == expected
    assert {tensor.shape for tensor in state} == {(2, 3)}
