"""One optimizer step: forward and backward, then, if all is finite, unscale, clip and update: two
compiled graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from beit_exp.config.schema import TrainConfig
from beit_exp.optim.update import Optimizer
from beit_exp.train.loss_scale import LossScale

CLIP_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_
MicroBatch = tuple[np.ndarray | None, ...]  # what the objective takes, in its order


class GradientCell(nn.Cell):
    """Forward and backward: the loss, the gradients of all weights and their norm, as one compiled
    graph.

    Whether the gradients are used is decided outside, so that this graph branches nowhere.
    """

    def __init__(self, objective: nn.Cell, *, accumulate_steps: int, ranks: int) -> None:
        super().__init__(auto_prefix=False)
        self.objective = objective
        self.weights = ParameterTuple(list(objective.trainable_params()))
        self.sums: Any = (
            _copies(self.weights, "gradient_sum", np.zeros_like) if accumulate_steps > 1 else None
        )
        self.map = ops.HyperMap()  # over all weights: a loop takes the compiler ten times as long
        self.ranks = ranks
        self.mean_over_ranks = (
            nn.DistributedGradReducer(self.weights, mean=True, degree=ranks) if ranks > 1 else None
        )
        self.sum_over_ranks = ops.AllReduce() if ranks > 1 else None
        self.value_and_grad = ops.value_and_grad(self.scaled_loss, None, self.weights, has_aux=True)

    def scaled_loss(self, loss_scale: Tensor, *batch: Tensor | None) -> tuple[Tensor, Tensor]:
        found = self.objective(*batch)
        return found[0] * loss_scale, ops.stack(found)

    def construct(
        self, loss_scale: Tensor, is_last: bool, *batch: Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """-> (loss and measures, global norm of the scaled gradients, these); the latter two after
        the last batch.
        """
        (_, found), gradients = self.value_and_grad(loss_scale, *batch)
        if self.sum_over_ranks is not None:
            found = self.sum_over_ranks(found) / self.ranks
        if self.sums is not None:
            gradients = self.map(self.accumulate, self.sums, gradients)
            # Else the compiler drops sums that nobody uses yet
            found = ops.depend(found, gradients)
        if not is_last:
            return found, ops.zeros_like(loss_scale), ()
        if self.mean_over_ranks is not None:
            gradients = self.mean_over_ranks(gradients)
        return found, ops.sqrt(ops.addn(self.map(squared_norm, gradients))), gradients

    def accumulate(self, total: Parameter, gradient: Tensor) -> Tensor:
        return ops.assign_add(total, gradient)


class UpdateCell(nn.Cell):
    """What a step does with its gradients: scaled, they change the weights, and the weights their
    average.
    """

    def __init__(
        self, weights: ParameterTuple, update: nn.Cell, *, ema_decay: float | None
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights = weights
        self.update = update
        self.map = ops.HyperMap()
        self.multiply = ops.Mul()
        self.ema_decay = ema_decay or 0.0
        self.averages: Any = _copies(weights, "ema", np.array) if ema_decay is not None else None

    def construct(self, factor: Tensor | None, rates_3P: Tensor, *gradients: Tensor) -> Tensor:
        """-> the rates: of a graph that returns None, the compiler makes one that calls Python."""
        # Not as one tuple: the compiler would take that for a constant, and compile at every step.
        if factor is not None:
            gradients = self.map(ops.partial(self.multiply, factor), gradients)
        self.update(gradients, rates_3P)
        if self.averages is not None:
            self.map(self.follow, self.averages, self.weights)
        return rates_3P

    def follow(self, average: Parameter, weight: Parameter) -> Tensor:
        return ops.assign(average, average * self.ema_decay + weight * (1 - self.ema_decay))


class ClearCell(nn.Cell):
    """Sets sums of gradients to zero."""

    def __init__(self, sums: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.sums = sums
        self.map = ops.HyperMap()
        self.done = Tensor(np.float32(1))

    def construct(self) -> Tensor:
        """-> one, as `UpdateCell` returns the rates."""
        self.map(self.clear, self.sums)
        return self.done

    def clear(self, total: Parameter) -> Tensor:
        return ops.assign(total, ops.zeros_like(total))


def squared_norm(gradient: Tensor) -> Tensor:
    """The sum of all squares, as a product of vectors: much faster than a sum on a CPU."""
    return ops.reshape(
        ops.matmul(ops.reshape(gradient, (1, -1)), ops.reshape(gradient, (-1, 1))), ()
    )


def _copies(
    weights: ParameterTuple, prefix: str, make: Callable[[np.ndarray], np.ndarray]
) -> ParameterTuple:
    return ParameterTuple(
        [
            Parameter(
                Tensor(make(weight.asnumpy())), name=f"{prefix}/{weight.name}", requires_grad=False
            )
            for weight in weights
        ]
    )


@dataclass(frozen=True)
class StepResult:
    """What one step found; `lr` and `loss_scale` are those it used, `measures` what the objective
    names besides.
    """

    loss: float
    measures: dict[str, float]
    grad_norm: float
    finite: bool
    lr: float
    loss_scale: float


class Trainer:
    """Network and optimizer in training, with the few numbers that decide the next step. All of it
    can be saved.

    `step` counts batches, `updates_done` the steps that changed the weights: learning rate, bias
    correction and averaged weights follow the latter, so a skipped step shifts none of them.
    """

    def __init__(
        self,
        objective: nn.Cell,
        optimizer: Optimizer,
        cfg: TrainConfig,
        *,
        schedule: np.ndarray,
        loss_scale: LossScale,
        clip_norm: float | None,
        ranks: int = 1,
    ) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.schedule = schedule
        self.loss_scale = loss_scale
        self.step = 0
        self.updates_done = 0
        self.clip_norm = clip_norm
        self.accumulate_steps = micro_steps = cfg.accumulate_steps
        self.gradients = GradientCell(objective, accumulate_steps=micro_steps, ranks=ranks)
        weights = self.gradients.weights
        self.update = UpdateCell(weights, optimizer.update, ema_decay=cfg.ema_decay)
        self.clear = ClearCell(self.gradients.sums) if micro_steps > 1 else None
        self.set_train()

    @property
    def skipped_steps(self) -> int:
        return self.step - self.updates_done

    def set_train(self) -> None:
        """Back to training, after an evaluation of the network."""
        self.gradients.set_train()

    def __call__(self, micro_batches: list[MicroBatch]) -> StepResult:
        """Take one step over micro-batches.

        Nothing is updated, neither parameters nor moments nor averaged weights, unless all
        gradients are finite.
        """
        lr, scale = float(self.schedule[self.updates_done]), self.loss_scale.value
        scale_tensor = Tensor(np.float32(scale))
        found = []
        for number, batch in enumerate(micro_batches, start=1):
            tensors = [None if array is None else Tensor(array) for array in batch]
            values, norm, gradients = self.gradients(
                scale_tensor, number == len(micro_batches), *tensors
            )
            found.append(values.asnumpy())
        grad_norm = float(norm.asnumpy()) / (scale * self.accumulate_steps)
        finite = bool(np.isfinite(grad_norm))
        if finite:
            rates = Tensor(self.optimizer.rates(lr, updates_done=self.updates_done))
            self.update(self.factor(grad_norm, scale), rates, *gradients)
        if self.clear is not None:
            self.clear()
        self.step += 1
        self.updates_done += finite
        self.loss_scale.update(finite=finite)
        loss, *others = np.mean(found, axis=0, dtype=np.float64).tolist()
        return StepResult(
            loss,
            dict(zip(self.objective.measures, others, strict=True)),
            grad_norm,
            finite,
            lr,
            scale,
        )

    def factor(self, grad_norm: float, scale: float) -> Tensor | None:
        """What the gradients are to be multiplied by: unscaled, averaged and clipped;
        None for one.
        """
        clip = 1.0 if self.clip_norm is None else min(1.0, self.clip_norm / (grad_norm + CLIP_EPS))
        factor = clip / (scale * self.accumulate_steps)
        return None if factor == 1 else Tensor(np.float32(factor))

    def state(self) -> dict[str, Any]:
        """The numbers that a checkpoint must hold besides `tensors`."""
        return {
            "step": self.step,
            "updates_done": self.updates_done,
            "loss_scale": self.loss_scale.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.updates_done = state["updates_done"]
        self.loss_scale = LossScale(**state["loss_scale"])

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The network with its averaged weights, inside the block."""
        own = [weight.asnumpy().copy() for weight in self.gradients.weights]
        for weight, average in zip(self.gradients.weights, self.update.averages, strict=True):
            weight.set_data(Tensor(average.asnumpy()))
        try:
            yield
        finally:
            for weight, value in zip(self.gradients.weights, own, strict=True):
                weight.set_data(Tensor(value))

    def tensors(self) -> dict[str, Parameter]:
        """Every parameter that a checkpoint must hold."""
        kept = {
            f"model/{parameter.name}": parameter for parameter in self.objective.get_parameters()
        }
        kept |= {
            f"optimizer/{parameter.name}": parameter for parameter in self.optimizer.update.state()
        }
        return kept | {parameter.name: parameter for parameter in self.update.averages or ()}
