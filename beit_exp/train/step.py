"""One optimizer step: forward and backward, then, if all is finite, unscale, clip and update."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn

from beit_exp.config.schema import TrainConfig
from beit_exp.model.operations.choice import native_library
from beit_exp.optim.update import Optimizer
from beit_exp.train.cells import ClearCell, CompiledUpdate, GradientCell, Told, UpdateCell
from beit_exp.train.host_update import HostUpdate
from beit_exp.train.loss_scale import LossScale

CLIP_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_
MicroBatch = tuple[np.ndarray | None, ...]  # what the objective takes, in its order


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
    wants_stop: bool  # a rank has been asked to


class Trainer:
    """Network and optimizer in training, with the few numbers that decide the next step. All of it
    can be saved.

    `step` counts batches, `updates_done` the steps that changed the weights: learning rate, weight
    decay, bias correction and averaged weights follow the latter, so a skipped step shifts none.
    """

    def __init__(
        self,
        objective: nn.Cell,
        optimizer: Optimizer,
        cfg: TrainConfig,
        *,
        schedule: np.ndarray,
        weight_decays: np.ndarray,
        loss_scale: LossScale,
        clip_norm: float | None,
        ranks: int = 1,
    ) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.schedule = schedule
        self.weight_decays = weight_decays
        self.loss_scale = loss_scale
        self.step = 0
        self.updates_done = 0
        self.clip_norm = clip_norm
        self.accumulate_steps = micro_steps = cfg.accumulate_steps
        library = native_library()
        self.gradients = GradientCell(
            objective,
            accumulate_steps=micro_steps,
            ranks=ranks,
            measures_norm=library is None,
        )
        parts = self.gradients.weights, optimizer.update, self.gradients.gradients
        self.update: CompiledUpdate | HostUpdate = (
            CompiledUpdate(UpdateCell(*parts, ema_decay=cfg.ema_decay))
            if library is None
            else HostUpdate(library, *parts, ema_decay=cfg.ema_decay)
        )
        self.clear = ClearCell(self.gradients.sums) if micro_steps > 1 else None
        self.set_train()

    @property
    def skipped_steps(self) -> int:
        return self.step - self.updates_done

    def set_train(self) -> None:
        """Back to training, after an evaluation of the network."""
        self.gradients.set_train()

    def __call__(self, micro_batches: list[MicroBatch], *, wants_stop: bool = False) -> StepResult:
        """Take one step over micro-batches; `wants_stop` reaches all ranks with its result.

        Nothing is updated, neither parameters nor moments nor averaged weights, unless all
        gradients are finite.
        """
        lr, scale = float(self.schedule[self.updates_done]), self.loss_scale.value
        found, gradients = self.backward(micro_batches, wants_stop=wants_stop)
        norm = self.update.norm(found[-1], gradients)
        grad_norm = norm / (scale * self.accumulate_steps * self.gradients.ranks)
        finite = bool(np.isfinite(grad_norm)) and not any(told.has_overflowed for told in found)
        if finite:
            decay = float(self.weight_decays[self.updates_done])
            rates = self.optimizer.rates(lr, decay, updates_done=self.updates_done)
            self.update(self.factor(grad_norm, scale), rates, gradients)
        if self.clear is not None:
            self.clear()
        self.step += 1
        self.updates_done += finite
        self.loss_scale.update(finite=finite)
        loss, *others = np.mean([told.means for told in found], axis=0).tolist()
        return StepResult(
            loss,
            dict(zip(self.objective.measures, others, strict=True)),
            grad_norm,
            finite,
            lr,
            scale,
            any(told.wants_stop for told in found),
        )

    def backward(
        self, micro_batches: list[MicroBatch], *, wants_stop: bool = False
    ) -> tuple[list[Told], tuple[Tensor, ...]]:
        """-> what each micro-batch told, and the sums of their scaled gradients."""
        controls = Tensor(np.float32(self.loss_scale.value)), Tensor(np.float32(wants_stop))
        sent = []
        for number, batch in enumerate(micro_batches, start=1):
            tensors = [None if array is None else Tensor(array) for array in batch]
            told, gradients = self.gradients(*controls, number == len(micro_batches), *tensors)
            sent.append(told)
        # Here alone the device is waited for
        return [self.gradients.read(told) for told in sent], gradients

    def factor(self, grad_norm: float, scale: float) -> float:
        """What sums of scaled gradients are to be multiplied by: unscaled, averaged over
        micro-batches and ranks, and clipped.
        """
        clip = 1.0 if self.clip_norm is None else min(1.0, self.clip_norm / (grad_norm + CLIP_EPS))
        return clip / (scale * self.accumulate_steps * self.gradients.ranks)

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
