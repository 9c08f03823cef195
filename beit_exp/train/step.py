"""One optimizer step: forward, scaled gradient, unscale, finite check, clip, update, in one compiled cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from beit_exp.optim.update import Optimizer
from beit_exp.train.loss_scale import LossScale

CLIP_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_
MicroBatch = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # images, targets, drop-path factors


class StepCell(nn.Cell):
    """The part of a step that runs on the device. `inputs` go to the network, `target` to the loss.

    Nothing is updated, neither parameters nor moments nor averaged weights, unless all gradients are finite.
    """

    def __init__(
        self,
        network: nn.Cell,
        loss: Callable[[Tensor, Tensor], Tensor],
        update: nn.Cell,
        *,
        clip_norm: float | None,
        accumulate_steps: int,
        ema_decay: float | None,
        ranks: int,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss
        self.update = update
        self.clip_norm = clip_norm
        self.accumulate_steps = accumulate_steps
        self.ema_decay = ema_decay or 0.0
        self.weights = ParameterTuple(list(network.trainable_params()))
        self.gradient_sums: Any = self.copies("gradient_sum", np.zeros_like) if accumulate_steps > 1 else None
        self.averages: Any = self.copies("ema", np.array) if ema_decay is not None else None
        self.ranks = ranks
        self.mean_over_ranks = nn.DistributedGradReducer(self.weights, mean=True, degree=ranks) if ranks > 1 else None
        self.sum_over_ranks = ops.AllReduce() if ranks > 1 else None
        self.value_and_grad = ops.value_and_grad(self.scaled_loss, None, self.weights)

    def copies(self, prefix: str, make: Callable[[np.ndarray], np.ndarray]) -> ParameterTuple:
        return ParameterTuple(
            [
                Parameter(Tensor(make(weight.asnumpy())), name=f"{prefix}/{weight.name}", requires_grad=False)
                for weight in self.weights
            ]
        )

    def scaled_loss(self, images: Tensor, targets: Tensor, keep: Tensor | None, loss_scale: Tensor) -> Tensor:
        return self.loss(self.network(images, keep), targets) * loss_scale

    def construct(
        self,
        images: Tensor,
        targets: Tensor,
        keep: Tensor | None,
        loss_scale: Tensor,
        rates_G3: Tensor,
        is_last: bool,
    ) -> tuple[Tensor, Tensor]:
        """-> (unscaled loss, global norm of the unscaled gradient; 0 before the last micro-batch)."""
        loss, gradients = self.value_and_grad(images, targets, keep, loss_scale)
        loss = loss / loss_scale
        if self.sum_over_ranks is not None:
            loss = self.sum_over_ranks(loss) / self.ranks
        if self.gradient_sums is not None:
            if not is_last:
                for index, gradient in enumerate(gradients):
                    ops.assign_add(self.gradient_sums[index], gradient)
                return loss, ops.zeros_like(loss)
            gradients = self.take_sums(gradients)
        if self.mean_over_ranks is not None:
            gradients = self.mean_over_ranks(gradients)
        scale = loss_scale * self.accumulate_steps
        norm = self.global_norm(gradients) / scale
        if ops.isfinite(norm):
            factor = 1.0 / scale
            if self.clip_norm is not None:
                factor = factor * ops.minimum(self.clip_norm / (norm + CLIP_EPS), ops.ones_like(norm))
            self.update(self.multiplied(gradients, factor), rates_G3)
            if self.averages is not None:
                for index, average in enumerate(self.averages):
                    ops.assign(average, average * self.ema_decay + self.weights[index] * (1 - self.ema_decay))
        return loss, norm

    def take_sums(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        total: tuple[Tensor, ...] = ()
        for index, gradient in enumerate(gradients):
            total = (*total, self.gradient_sums[index] + gradient)
        for index, value in enumerate(total):
            ops.assign(self.gradient_sums[index], ops.zeros_like(value))
        return total

    def global_norm(self, gradients: tuple[Tensor, ...]) -> Tensor:
        squares: tuple[Tensor, ...] = ()
        for gradient in gradients:
            squares = (*squares, ops.square(gradient).sum())
        return ops.sqrt(ops.addn(squares))

    def multiplied(self, gradients: tuple[Tensor, ...], factor: Tensor) -> tuple[Tensor, ...]:
        scaled: tuple[Tensor, ...] = ()
        for gradient in gradients:
            scaled = (*scaled, gradient * factor)
        return scaled


@dataclass(frozen=True)
class StepResult:
    """What one step found; `lr` and `loss_scale` are those it used."""

    loss: float
    grad_norm: float
    finite: bool
    lr: float
    loss_scale: float


class Trainer:
    """Network and optimizer in training, with the few numbers that decide the next step. All of it can be saved.

    `step` counts batches, `updates_done` the steps that changed the weights: learning rate, bias correction and
    averaged weights follow the latter, so a skipped step shifts none of them.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: Optimizer,
        *,
        loss: Callable[[Tensor, Tensor], Tensor],
        schedule: np.ndarray,
        loss_scale: LossScale,
        clip_norm: float | None,
        accumulate_steps: int,
        ema_decay: float | None,
        ranks: int = 1,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.loss_scale = loss_scale
        self.step = 0
        self.updates_done = 0
        self.cell = StepCell(
            network,
            loss,
            optimizer.update,
            clip_norm=clip_norm,
            accumulate_steps=accumulate_steps,
            ema_decay=ema_decay,
            ranks=ranks,
        )
        self.cell.set_train()

    @property
    def skipped_steps(self) -> int:
        return self.step - self.updates_done

    def __call__(self, micro_batches: list[MicroBatch]) -> StepResult:
        """Take one step over (images, targets, keep) micro-batches."""
        lr, scale = float(self.schedule[self.updates_done]), self.loss_scale.value
        rates = Tensor(self.optimizer.rates(lr, updates_done=self.updates_done))
        scale_tensor = Tensor(np.float32(scale))
        losses = []
        for number, (images, targets, keep) in enumerate(micro_batches, start=1):
            keep_tensor = None if keep is None else Tensor(keep)
            is_last = number == len(micro_batches)
            loss, norm = self.cell(Tensor(images), Tensor(targets), keep_tensor, scale_tensor, rates, is_last)
            losses.append(float(loss.asnumpy()))
        grad_norm = float(norm.asnumpy())
        finite = bool(np.isfinite(grad_norm))
        self.step += 1
        self.updates_done += finite
        self.loss_scale.update(finite=finite)
        return StepResult(sum(losses) / len(losses), grad_norm, finite, lr, scale)

    def state(self) -> dict[str, Any]:
        """The numbers that a checkpoint must hold besides `tensors`."""
        return {"step": self.step, "updates_done": self.updates_done, "loss_scale": self.loss_scale.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.updates_done = state["updates_done"]
        self.loss_scale = LossScale(**state["loss_scale"])

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The network with its averaged weights, inside the block."""
        own = [weight.asnumpy().copy() for weight in self.cell.weights]
        for weight, average in zip(self.cell.weights, self.cell.averages, strict=True):
            weight.set_data(Tensor(average.asnumpy()))
        try:
            yield
        finally:
            for weight, value in zip(self.cell.weights, own, strict=True):
                weight.set_data(Tensor(value))

    def tensors(self) -> dict[str, Parameter]:
        """Every parameter that a checkpoint must hold."""
        kept = {f"model/{parameter.name}": parameter for parameter in self.network.get_parameters()}
        kept |= {f"optimizer/{parameter.name}": parameter for parameter in self.optimizer.update.state()}
        return kept | {parameter.name: parameter for parameter in self.cell.averages or ()}
