"""Parameter updates by fused operators.

What changes from step to step enters as tensors, so nothing recompiles.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from typing_extensions import assert_never

from beit_exp.config.schema import OptimizerConfig
from beit_exp.optim.groups import Group, make_groups
from beit_exp.optim.state import ADAM_STATE, MOMENTUM_STATE

# P parameters. `rates_3P`: this step's learning rate, epsilon and weight decay of each.


class AdamUpdate(nn.Cell):
    """AdamW, or AdamWeightDecay without bias correction, by MindSpore's fused operator of it."""

    def __init__(self, parameters: list[Parameter], *, beta: list[float]) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.moments1, self.moments2 = (_zeros_like(parameters, name) for name in ADAM_STATE)
        self.beta1, self.beta2 = beta
        self.operator = ops.AdamWeightDecay()
        self.unstack_rows = ops.Unstack(axis=0)
        # Over all parameters: a loop takes the compiler ten times as long
        self.map = ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...], rates_3P: Tensor) -> None:
        lr_P, eps_P, decay_P = self.unstack_rows(rates_3P)
        rates = self.unstack_rows(lr_P), self.unstack_rows(eps_P), self.unstack_rows(decay_P)
        self.map(self.change, self.parameters, self.moments1, self.moments2, *rates, gradients)

    def change(
        self,
        parameter: Parameter,
        moment1: Parameter,
        moment2: Parameter,
        lr: Tensor,
        eps: Tensor,
        decay: Tensor,
        gradient: Tensor,
    ) -> Tensor:
        return self.operator(
            parameter, moment1, moment2, lr, self.beta1, self.beta2, eps, decay, gradient
        )

    def state(self) -> list[Parameter]:
        return [*self.moments1, *self.moments2]


class MomentumUpdate(nn.Cell):
    """SGD with momentum; weight decay is added to the gradient, as in PyTorch's SGD."""

    def __init__(self, parameters: list[Parameter], *, momentum: float) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        (self.velocities,) = (_zeros_like(parameters, name) for name in MOMENTUM_STATE)
        self.momentum = momentum
        self.operator = ops.ApplyMomentum()
        self.unstack_rows = ops.Unstack(axis=0)
        self.map = ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...], rates_3P: Tensor) -> None:
        lr_P, _, decay_P = self.unstack_rows(rates_3P)
        rates = self.unstack_rows(lr_P), self.unstack_rows(decay_P)
        self.map(self.change, self.parameters, self.velocities, *rates, gradients)

    def change(
        self, parameter: Parameter, velocity: Parameter, lr: Tensor, decay: Tensor, gradient: Tensor
    ) -> Tensor:
        return self.operator(parameter, velocity, lr, gradient + decay * parameter, self.momentum)

    def state(self) -> list[Parameter]:
        return list(self.velocities)


class Optimizer:
    """Groups, the update that a compiled step calls, and the numbers that it needs at each step."""

    def __init__(self, cfg: OptimizerConfig, parameters: list[Parameter], *, depth: int) -> None:
        self.cfg = cfg
        self.groups: list[Group] = make_groups(
            [(parameter.name, parameter.ndim) for parameter in parameters],
            depth=depth,
            layer_decay=cfg.layer_decay,
            weight_decay=cfg.weight_decay,
            decay_rel_pos_bias=cfg.decay_rel_pos_bias,
        )
        number = {name: index for index, group in enumerate(self.groups) for name in group.names}
        self.group_of = [number[parameter.name] for parameter in parameters]
        self.lr_scales = np.array([group.lr_scale for group in self.groups])
        self.is_decayed = np.array([group.weight_decay > 0 for group in self.groups])
        match cfg.name:
            case "adamw" | "adam_weight_decay":
                self.update: AdamUpdate | MomentumUpdate = AdamUpdate(parameters, beta=cfg.beta)
            case "momentum":
                self.update = MomentumUpdate(parameters, momentum=cfg.momentum)
            case _:
                assert_never(cfg.name)

    def rates(self, lr: float, weight_decay: float, *, updates_done: int) -> np.ndarray:
        """(3, P) float32: learning rate, epsilon and weight decay of each at the next update.

        AdamW is w ← w (1 - lr·wd) - lr/c₁ · m / (√v/c₂ + eps), c₁ = 1 - β₁ᵗ and c₂ = √(1 - β₂ᵗ).
        The fused operator computes w ← w - lr' (m / (√v + eps') + wd' w), so lr' = lr·c₂/c₁,
        eps' = eps·c₂, wd' = wd·c₁/c₂.
        """
        c1 = c2 = 1.0
        if self.cfg.name == "adamw":
            c1 = 1 - self.cfg.beta[0] ** (updates_done + 1)
            c2 = (1 - self.cfg.beta[1] ** (updates_done + 1)) ** 0.5
        rows = [
            lr * self.lr_scales * c2 / c1,
            np.full(len(self.groups), self.cfg.eps * c2),
            self.is_decayed * weight_decay * c1 / c2,
        ]
        return np.stack(rows).astype(np.float32)[:, self.group_of]


def build_optimizer(cfg: OptimizerConfig, network: nn.Cell, *, depth: int) -> Optimizer:
    """The optimizer of every trainable parameter of the network."""
    return Optimizer(cfg, list(network.trainable_params()), depth=depth)


def _zeros_like(parameters: list[Parameter], prefix: str) -> ParameterTuple:
    return ParameterTuple(
        [
            Parameter(
                Tensor(np.zeros(parameter.shape, np.float32)), name=f"{prefix}/{parameter.name}"
            )
            for parameter in parameters
        ]
    )
