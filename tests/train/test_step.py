from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from networks import O0, build
from settings import TINY, make_config

from beit_exp.data.mixup import soft_targets
from beit_exp.model.precision import Precision, build_precision
from beit_exp.optim.schedule import build_weight_decays
from beit_exp.optim.update import AdamUpdate, build_optimizer
from beit_exp.train import gradients
from beit_exp.train.cells import ClearCell, UpdateCell
from beit_exp.train.gradients import GradientsByWeight
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.losses import Classification
from beit_exp.train.step import Trainer

pytestmark = pytest.mark.usefixtures("compiled")

ONE_BLOCK = (*TINY, "model.depth=1", "model.head_init_scale=1.0")
HALF = build_precision("O1", half=ms.float16)


def make_trainer(
    *overrides: str,
    precision: Precision = O0,
    loss_scale: LossScale | None = None,
    accumulate_steps: int = 1,
    ema_decay: float | None = None,
    ranks: int = 1,
) -> Trainer:
    averaging = "null" if ema_decay is None else ema_decay
    train = (f"train.accumulate_steps={accumulate_steps}", f"train.ema_decay={averaging}")
    cfg = make_config(*ONE_BLOCK, *train, *overrides)
    network = build(*ONE_BLOCK, *overrides, precision=precision)
    return Trainer(
        Classification(network),
        build_optimizer(cfg.optimizer, network, depth=cfg.model.depth),
        cfg.train,
        schedule=np.linspace(1e-3, 2e-3, 20),
        weight_decays=build_weight_decays(cfg.optimizer, total_steps=20),
        loss_scale=loss_scale or LossScale(1.0, False, 1000),
        clip_norm=cfg.optimizer.clip_global_norm_value,
        ranks=ranks,
    )


@pytest.fixture(scope="module")
def plain() -> Trainer:
    """A trainer that is compiled once; each test begins with it `anew`."""
    return make_trainer(ema_decay=0.9)


@pytest.fixture(scope="module")
def half() -> Trainer:
    """The same in half precision."""
    return make_trainer(precision=HALF, ema_decay=0.9)


def anew(trainer: Trainer, **attributes: object) -> Trainer:
    """The same trainer, compiled as it is, at its start again, and with other attributes."""
    if not hasattr(trainer, "first_values"):
        trainer.first_values = {
            name: parameter.asnumpy().copy() for name, parameter in trainer.tensors().items()
        }
    for name, parameter in trainer.tensors().items():
        parameter.set_data(Tensor(trainer.first_values[name]))
    trainer.load_state(
        {"step": 0, "updates_done": 0, "loss_scale": LossScale(1.0, False, 1000).state()}
    )
    for name, value in attributes.items():
        setattr(trainer, name, value)
    return trainer


def batch(size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = soft_targets(rng.integers(0, 10, size), num_classes=10, smoothing=0.1)
    return rng.standard_normal((size, 3, 32, 32), np.float32), targets


def weights_of(trainer: Trainer) -> dict[str, np.ndarray]:
    return {
        parameter.name: parameter.asnumpy().copy()
        for parameter in trainer.objective.network.get_parameters()
    }


@pytest.mark.slow
def test_accumulated_micro_batches_equal_the_large_batch(plain: Trainer) -> None:
    images, targets = batch(8)
    whole, parts = anew(plain), make_trainer(accumulate_steps=2)
    for _ in range(3):
        one = whole([(images, targets, None)])
        two = parts([(images[:4], targets[:4], None), (images[4:], targets[4:], None)])
        assert two.loss == pytest.approx(one.loss, abs=1e-5)
        assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
    for name, value in weights_of(whole).items():
        np.testing.assert_allclose(weights_of(parts)[name], value, atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_loss_scale_changes_no_result(plain: Trainer) -> None:
    images, targets = batch()

    def train(scale: LossScale) -> tuple[list[float], list[float], dict[str, np.ndarray]]:
        trainer = anew(plain, loss_scale=scale)
        results = [trainer([(images, targets, None)]) for _ in range(2)]
        return (
            [result.loss for result in results],
            [result.grad_norm for result in results],
            weights_of(trainer),
        )

    losses, norms, weights = train(LossScale(1.0, False, 1000))
    for scale in (1.0, 2.0**16):
        scaled = train(LossScale(scale, True, 1000))
        assert (scaled[0], scaled[1]) == (
            pytest.approx(losses, rel=1e-5),
            pytest.approx(norms, rel=1e-4),
        )
        for name, value in weights.items():
            np.testing.assert_allclose(scaled[2][name], value, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_an_overflow_changes_nothing_but_the_scale(half: Trainer) -> None:
    trainer = anew(half, loss_scale=LossScale(2.0**40, True, 1000))
    before = weights_of(trainer)
    moments = [moment.asnumpy().copy() for moment in trainer.optimizer.update.state()]
    result = trainer([(*batch(), None)])
    assert not result.finite
    assert (trainer.step, trainer.updates_done, trainer.skipped_steps) == (1, 0, 1)
    assert trainer.loss_scale.value == 2.0**39
    assert all((value == before[name]).all() for name, value in weights_of(trainer).items())
    state = trainer.optimizer.update.state()
    assert all((new.asnumpy() == old).all() for new, old in zip(state, moments, strict=True))


@pytest.mark.slow
def test_a_dynamic_scale_finds_a_value_that_trains_in_half_precision(half: Trainer) -> None:
    trainer = anew(half, loss_scale=LossScale(2.0**26, True, 1000))
    results = [trainer([(*batch(), None)]) for _ in range(20)]
    assert 0 < trainer.skipped_steps < 20
    used = [result.lr for result in results if result.finite]
    # A skipped step does not advance the schedule
    np.testing.assert_allclose(used, trainer.schedule[: len(used)])
    assert results[-1].loss < results[0].loss


@pytest.mark.slow
def test_a_resumed_weight_decay_goes_on_where_it_was_bit_for_bit(
    plain: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config("optimizer.weight_decay=0.1", "optimizer.weight_decay_end=5.0").optimizer
    table = build_weight_decays(cfg, total_steps=4)
    monkeypatch.setattr(plain, "weight_decays", table)
    trainer, kept = anew(plain), {}
    for seed in range(4):
        if seed == 2:
            kept = {name: tensor.asnumpy().copy() for name, tensor in trainer.tensors().items()}
            state = trainer.state()
        trainer([(*batch(seed=seed), None)])
    ends = weights_of(trainer)
    for decays, is_same in ((table, True), (np.full(4, 0.1), False)):
        monkeypatch.setattr(trainer, "weight_decays", decays)
        for name, tensor in trainer.tensors().items():
            tensor.set_data(Tensor(kept[name]))
        trainer.load_state(state)
        for seed in (2, 3):
            trainer([(*batch(seed=seed), None)])
        found = weights_of(trainer)
        assert all((found[name] == value).all() for name, value in ends.items()) == is_same


def test_averaged_weights_follow_their_formula_and_leave_the_network_as_it_was(
    plain: Trainer,
) -> None:
    trainer = anew(plain)
    average = weights_of(trainer)
    for seed in range(3):
        trainer([(*batch(seed=seed), None)])
        average = {
            name: 0.9 * average[name] + 0.1 * value for name, value in weights_of(trainer).items()
        }
    raw = weights_of(trainer)
    images = Tensor(batch()[0])
    trainer.objective.network.set_train(False)
    raw_logits = trainer.objective.network(images).asnumpy()
    with trainer.averaged_weights():
        for name, value in weights_of(trainer).items():
            np.testing.assert_allclose(value, average[name], atol=1e-6, err_msg=name)
        assert np.abs(trainer.objective.network(images).asnumpy() - raw_logits).max() > 1e-6
    assert all((value == raw[name]).all() for name, value in weights_of(trainer).items())
    assert (trainer.objective.network(images).asnumpy() == raw_logits).all()


@pytest.mark.slow
def test_clipping_bounds_the_update_and_the_logged_norm_is_the_one_before() -> None:
    trainer = make_trainer(
        "optimizer=momentum", "optimizer.momentum=0.0", "optimizer.weight_decay=0.0"
    )
    start = weights_of(trainer)
    norms, moved = [], []
    for clip_norm in (None, 0.01):
        norms.append(anew(trainer, clip_norm=clip_norm)([(*batch(), None)]).grad_norm)
        changes = [
            (value - start[name]).astype(np.float64) for name, value in weights_of(trainer).items()
        ]
        moved.append(np.sqrt(sum((change**2).sum() for change in changes)))
    assert norms[0] == pytest.approx(norms[1])
    assert moved[0] == pytest.approx(1e-3 * norms[0], rel=1e-3)
    assert moved[1] == pytest.approx(1e-3 * 0.01, rel=1e-2)


@pytest.mark.slow
def test_drop_path_enters_the_step(plain: Trainer) -> None:
    images, targets = batch()
    dropped = np.zeros((1, 2, 8), np.float32)
    keeps = (None, np.ones_like(dropped), dropped)
    results = [anew(plain)([(images, targets, keep)]).loss for keep in keeps]
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    assert results[0] != pytest.approx(results[2], abs=1e-5)


@pytest.mark.slow
def test_two_trainings_from_one_seed_are_equal(plain: Trainer) -> None:
    first, second = (
        [trainer([(*batch(seed=seed), None)]).loss for seed in range(4)]
        for trainer in (anew(plain), make_trainer())
    )
    assert first == second


@pytest.fixture
def weight() -> Parameter:
    """A weight of ones. (A graph without a result would call Python back at every step.)"""
    return Parameter(Tensor(np.ones(3, np.float32)), name="weight")


def test_an_update_changes_the_weights_and_returns_the_rates(weight: Parameter) -> None:
    update = AdamUpdate([weight], beta=[0.9, 0.999])
    rates_31 = Tensor(np.array([[0.1], [1e-8], [0.0]], np.float32))
    kept = GradientsByWeight()
    cell = UpdateCell(ParameterTuple([weight]), update, kept, ema_decay=0.5)
    found = cell(None, rates_31, Tensor(np.ones(3, np.float32)))
    np.testing.assert_array_equal(found.asnumpy(), rates_31.asnumpy())
    assert (weight.asnumpy() < 1).all()
    np.testing.assert_allclose(cell.averages[0].asnumpy(), 0.5 + 0.5 * weight.asnumpy(), rtol=1e-6)


def test_a_clearing_leaves_zeros_and_returns_one(weight: Parameter) -> None:
    found = ClearCell(ParameterTuple([weight]))()
    assert found.asnumpy() == 1
    assert not weight.asnumpy().any()


@pytest.mark.slow
def test_gradients_in_buckets_train_as_gradients_by_weight(monkeypatch) -> None:
    images, targets = batch(8)
    ends = []
    for is_fast in (False, True):
        monkeypatch.setattr(gradients, "has_fast_memory", lambda is_fast=is_fast: is_fast)
        monkeypatch.setattr(gradients, "BUCKET_BYTES", 2**14)
        trainer = make_trainer("optimizer.clip_global_norm_value=0.5", ema_decay=0.9)
        results = [trainer([(images, targets, None)]) for _ in range(3)]
        ends.append((weights_of(trainer), [result.grad_norm for result in results]))
    assert len(trainer.gradients.gradients.buckets) > 2
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-6)
    for name, value in ends[0][0].items():
        np.testing.assert_allclose(ends[1][0][name], value, atol=1e-7, err_msg=name)


class OfTwoAlike(nn.Cell):
    """An all-reduce between two ranks that hold the same."""

    def construct(self, x: Tensor) -> Tensor:
        return x + x


@pytest.mark.slow
def test_two_ranks_that_see_the_same_train_as_one(monkeypatch) -> None:
    images, targets = batch(8)
    monkeypatch.setattr(ops, "AllReduce", OfTwoAlike)
    found = []
    for ranks in (1, 2):
        trainer = make_trainer("optimizer.clip_global_norm_value=0.5", ranks=ranks)
        results = [trainer([(images, targets, None)], wants_stop=ranks == 2) for _ in range(3)]
        numbers = [(result.loss, result.grad_norm) for result in results]
        found.append((numbers, weights_of(trainer), results[0].wants_stop))
    (one, weights, _), (two, alike, wants_stop) = found
    assert one[0][1] > 0.5 and wants_stop
    np.testing.assert_allclose(two, one, rtol=1e-6)
    for name, value in weights.items():
        np.testing.assert_allclose(alike[name], value, atol=1e-7, err_msg=name)
