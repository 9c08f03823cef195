"""The compiled graphs of a step: forward and backward, the update, and the clearing of sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from beit_exp.model.operations.choice import build_overflow_check
from beit_exp.train.gradients import GlobalNorm, Gradients, build_gradients


class GradientCell(nn.Cell):
    """Forward and backward: what the objective and the ranks tell, and the gradients of all
    weights, as one compiled graph.

    Whether the gradients are used is decided outside, so that this graph branches nowhere.
    """

    def __init__(
        self, objective: nn.Cell, *, accumulate_steps: int, ranks: int, measures_norm: bool = True
    ) -> None:
        super().__init__(auto_prefix=False)
        self.objective = objective
        self.weights = ParameterTuple(list(objective.trainable_params()))
        self.gradients = build_gradients(self.weights, ranks=ranks)
        self.norm = GlobalNorm() if measures_norm else None
        self.sums: Any = (
            copies_of(self.weights, "gradient_sum", np.zeros_like) if accumulate_steps > 1 else None
        )
        self.map = ops.HyperMap()
        self.overflow = build_overflow_check()
        self.ranks = ranks
        self.sum_over_ranks = ops.AllReduce() if ranks > 1 else None
        self.value_and_grad = ops.value_and_grad(self.scaled_loss, None, self.weights, has_aux=True)

    def scaled_loss(self, loss_scale: Tensor, *batch: Tensor | None) -> tuple[Tensor, Tensor]:
        found = self.objective(*batch)
        return found[0] * loss_scale, ops.stack(found)

    def construct(
        self,
        loss_scale: Tensor,
        wants_stop: Tensor,
        is_last: bool,
        inputs: Tensor,
        *others: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """-> (what `read` takes apart, the sums of the scaled gradients after the last batch).

        All that is told besides gradients is in one vector: one more all-reduce, one wait.
        """
        inputs = self.overflow.cleared_before(inputs)
        (_, found), gradients = self.value_and_grad(loss_scale, inputs, *others)
        if self.sums is not None:
            gradients = self.map(self.accumulate, self.sums, gradients)
            # Else the compiler drops sums that nobody uses yet
            found = ops.depend(found, gradients)
        norm = ops.zeros_like(loss_scale)
        if is_last:
            gradients = self.gradients.gather(gradients)
            if self.norm is None:
                found = ops.depend(found, gradients)
            else:
                norm = self.norm(gradients)
                found = ops.depend(found, norm)
        flags = ops.stack((norm, self.overflow.found_after(found), wants_stop))
        told = ops.concat((found, flags))
        if self.sum_over_ranks is not None:
            told = self.sum_over_ranks(told)
        return told, gradients if is_last else ()

    def accumulate(self, total: Parameter, gradient: Tensor) -> Tensor:
        return ops.assign_add(total, gradient)

    def read(self, told: Tensor) -> Told:
        """What `construct` told, once the device has it."""
        *means, norm, overflow, stop = (told.asnumpy().astype(np.float64) / self.ranks).tolist()
        return Told(np.array(means), norm, overflow > 0, stop > 0)


class Told(NamedTuple):
    """What a micro-batch told, of all ranks."""

    means: np.ndarray  # of the loss and the objective's measures
    norm: float  # of the scaled gradients' sums over ranks; 0 before the last, and where it is
    # measured elsewhere
    has_overflowed: bool  # as a card that saturates says; elsewhere the norm is not finite
    wants_stop: bool  # a rank


class UpdateCell(nn.Cell):
    """What a step does with its gradients: scaled, they change the weights, and the weights their
    average.
    """

    def __init__(
        self,
        weights: ParameterTuple,
        update: nn.Cell,
        gradients: Gradients,
        *,
        ema_decay: float | None,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights = weights
        self.gradients = gradients
        self.update = update
        self.map = ops.HyperMap()
        self.multiply = ops.Mul()
        self.ema_decay = ema_decay or 0.0
        self.averages: Any = copies_of(weights, "ema", np.array) if ema_decay is not None else None

    def construct(self, factor: Tensor | None, rates_3P: Tensor, *gradients: Tensor) -> Tensor:
        """-> the rates: of a graph that returns None, the compiler makes one that calls Python."""
        # Not as one tuple: the compiler would take that for a constant, and compile at every step.
        if factor is not None:
            gradients = self.map(ops.partial(self.multiply, factor), gradients)
        self.update(self.gradients.take_apart(gradients), rates_3P)
        if self.averages is not None:
            self.map(self.follow, self.averages, self.weights)
        return rates_3P

    def follow(self, average: Parameter, weight: Parameter) -> Tensor:
        return ops.assign(average, average * self.ema_decay + weight * (1 - self.ema_decay))


class CompiledUpdate:
    """The update of a device by one graph, and the norm that the other graph told."""

    def __init__(self, cell: UpdateCell) -> None:
        self.cell = cell
        self.averages = cell.averages

    def norm(self, told: Told, gradients: tuple[Tensor, ...]) -> float:
        """Of the scaled gradients' sums over ranks."""
        return told.norm

    def __call__(self, factor: float, rates_3P: np.ndarray, gradients: tuple[Tensor, ...]) -> None:
        """Change weights, moments and averages by the gradients times `factor`."""
        self.cell(None if factor == 1 else Tensor(np.float32(factor)), Tensor(rates_3P), *gradients)


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


def copies_of(
    weights: ParameterTuple, prefix: str, make: Callable[[np.ndarray], np.ndarray]
) -> ParameterTuple:
    """What `make` makes of each weight, a parameter that does not learn."""
    return ParameterTuple(
        [
            Parameter(
                Tensor(make(weight.asnumpy())), name=f"{prefix}/{weight.name}", requires_grad=False
            )
            for weight in weights
        ]
    )
