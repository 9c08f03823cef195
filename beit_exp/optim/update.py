"""Parameter updates by fused operators; what changes from step to step enters as tensors, so nothing recompiles."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from typing_extensions import assert_never

from beit_exp.config import OptimizerConfig
from beit_exp.optim.groups import Group, make_groups

# G groups. `rates_G3` holds, for each group, the learning rate, epsilon and weight decay of this step.


class AdamUpdate(nn.Cell):
    """AdamW, or AdamWeightDecay without bias correction, over MindSpore's fused `AdamWeightDecay` operator."""

    def __init__(self, parameters: list[Parameter], group_of: list[int], *, beta: list[float]) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.moments1 = _zeros_like(parameters, "moment1")
        self.moments2 = _zeros_like(parameters, "moment2")
        self.group_of = tuple(group_of)
        self.beta1, self.beta2 = beta
        self.update = ops.AdamWeightDecay()

    def construct(self, gradients: tuple[Tensor, ...], rates_G3: Tensor) -> None:
        for index, group in enumerate(self.group_of):
            self.update(
                self.parameters[index],
                self.moments1[index],
                self.moments2[index],
                rates_G3[group, 0],
                self.beta1,
                self.beta2,
                rates_G3[group, 1],
                rates_G3[group, 2],
                gradients[index],
            )

    def state(self) -> list[Parameter]:
        return [*self.moments1, *self.moments2]


class MomentumUpdate(nn.Cell):
    """SGD with momentum; weight decay is added to the gradient, as in PyTorch's SGD."""

    def __init__(self, parameters: list[Parameter], group_of: list[int], *, momentum: float) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.velocities = _zeros_like(parameters, "velocity")
        self.group_of = tuple(group_of)
        self.momentum = momentum
        self.update = ops.ApplyMomentum()

    def construct(self, gradients: tuple[Tensor, ...], rates_G3: Tensor) -> None:
        for index, group in enumerate(self.group_of):
            parameter = self.parameters[index]
            gradient = gradients[index] + rates_G3[group, 2] * parameter
            self.update(parameter, self.velocities[index], rates_G3[group, 0], gradient, self.momentum)

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
        )
        number = {name: index for index, group in enumerate(self.groups) for name in group.names}
        group_of = [number[parameter.name] for parameter in parameters]
        self.lr_scales = np.array([group.lr_scale for group in self.groups])
        self.weight_decays = np.array([group.weight_decay for group in self.groups])
        match cfg.name:
            case "adamw" | "adam_weight_decay":
                self.update: AdamUpdate | MomentumUpdate = AdamUpdate(parameters, group_of, beta=cfg.beta)
            case "momentum":
                self.update = MomentumUpdate(parameters, group_of, momentum=cfg.momentum)
            case _:
                assert_never(cfg.name)

    def rates(self, lr: float, *, updates_done: int) -> np.ndarray:
        """(G, 3) float32 learning rate, epsilon and weight decay of the next update.

        AdamW is w ← w (1 - lr·wd) - lr/c₁ · m / (√v/c₂ + eps), with c₁ = 1 - β₁ᵗ and c₂ = √(1 - β₂ᵗ); the fused
        operator computes w ← w - lr' (m / (√v + eps') + wd' w), so lr' = lr·c₂/c₁, eps' = eps·c₂, wd' = wd·c₁/c₂.
        """
        c1 = c2 = 1.0
        if self.cfg.name == "adamw":
            c1 = 1 - self.cfg.beta[0] ** (updates_done + 1)
            c2 = (1 - self.cfg.beta[1] ** (updates_done + 1)) ** 0.5
        columns = [
            lr * self.lr_scales * c2 / c1,
            np.full(len(self.groups), self.cfg.eps * c2),
            self.weight_decays * c1 / c2,
        ]
        return np.stack(columns, axis=1).astype(np.float32)


def build_optimizer(cfg: OptimizerConfig, network: nn.Cell, *, depth: int) -> Optimizer:
    """The optimizer of every trainable parameter of the network."""
    return Optimizer(cfg, list(network.trainable_params()), depth=depth)


def _zeros_like(parameters: list[Parameter], prefix: str) -> ParameterTuple:
    return ParameterTuple(
        [
            Parameter(Tensor(np.zeros(parameter.shape, np.float32)), name=f"{prefix}/{parameter.name}")
            for parameter in parameters
        ]
    )
