"""Half precision without infinities: what a card does that saturates, emulated."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from settings import make_config

from beit_exp.model.operations.overflow import Infinities
from beit_exp.optim.update import build_optimizer
from beit_exp.train import cells
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.step import Trainer

pytestmark = pytest.mark.usefixtures("compiled")


class Saturating(nn.Cell):
    """A loss, linear in its weights, whose gradient a card without infinities would give.

    What is over the largest number of half precision becomes that number, and `seen` remembers.
    """

    measures = ()

    def __init__(self, seen: Parameter) -> None:
        super().__init__(auto_prefix=False)
        self.weight = Parameter(Tensor(np.ones(3, np.float32)), name="weight")
        self.seen = seen
        self.largest = Tensor(np.float32(65504))

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        return ((self.saturated(self.weight) * x).sum(),)

    def saturated(self, weight: Tensor) -> Tensor:
        return ops.InsertGradientOf(self.clip)(weight)

    def clip(self, gradient: Tensor) -> Tensor:
        over = ops.cast((ops.abs(gradient) > self.largest).any(), ms.float32)
        gradient = ops.depend(gradient, ops.assign_add(self.seen, over))
        return ops.clamp(gradient, -self.largest, self.largest)


class Register(nn.Cell):
    """The status of such a card: set by what overflows, kept until it is cleared."""

    def __init__(self, seen: Parameter) -> None:
        super().__init__()
        self.seen = seen

    def cleared_before(self, x: Tensor) -> Tensor:
        return ops.depend(x, ops.assign(self.seen, ops.zeros_like(self.seen)))

    def found_after(self, x: Tensor) -> Tensor:
        return ops.cast(ops.depend(self.seen, x) > 0, ms.float32)


def saturating_trainer(monkeypatch, *, has_register: bool) -> Trainer:
    seen = Parameter(Tensor(np.float32(0)), name="seen", requires_grad=False)
    check = Register(seen) if has_register else Infinities()
    monkeypatch.setattr(cells, "build_overflow_check", lambda: check)
    cfg = make_config("optimizer=momentum")
    objective = Saturating(seen)
    return Trainer(
        objective,
        build_optimizer(cfg.optimizer, objective, depth=1),
        cfg.train,
        schedule=np.arange(1, 21) / 10,
        weight_decays=np.full(20, cfg.optimizer.weight_decay),
        loss_scale=LossScale(65536.0, True, 1000),
        clip_norm=None,
    )


def test_an_overflow_that_saturates_is_skipped_and_lowers_the_scale(monkeypatch) -> None:
    trainer = saturating_trainer(monkeypatch, has_register=True)
    large, small = np.full(3, 1.5, np.float32), np.full(3, 0.5, np.float32)
    before = trainer.objective.weight.asnumpy().copy()
    result = trainer([(large,)])
    assert not result.finite and np.isfinite(result.grad_norm)
    np.testing.assert_array_equal(trainer.objective.weight.asnumpy(), before)
    assert (trainer.loss_scale.value, trainer.skipped_steps) == (32768.0, 1)
    assert trainer([(large,)]).finite  # 49,152 fits, and the register was cleared
    assert trainer([(small,)]).finite
    assert trainer.skipped_steps == 1


def test_a_skipped_step_uses_up_no_entry_of_the_tables(monkeypatch) -> None:
    """unilm's engine_for_finetuning.py, line 58, counts it: `it = start_steps + step`."""
    trainer = saturating_trainer(monkeypatch, has_register=True)
    large, small = np.full(3, 1.5, np.float32), np.full(3, 0.5, np.float32)
    results = [trainer([(array,)]) for array in (small, large, small, small)]
    assert [result.finite for result in results] == [True, False, True, True]
    assert [result.lr for result in results] == pytest.approx([0.1, 0.2, 0.2, 0.3])


def test_without_the_register_a_saturated_gradient_would_pass_for_a_good_one(monkeypatch) -> None:
    trainer = saturating_trainer(monkeypatch, has_register=False)
    result = trainer([(np.full(3, 1.5, np.float32),)])
    assert result.finite and trainer.loss_scale.value == 65536.0
