"""What an optimizer keeps of each parameter; without MindSpore, for who only counts bytes."""

from __future__ import annotations

from typing_extensions import assert_never

from beit_exp.config.schema import OptimizerConfig

ADAM_STATE = ("moment1", "moment2")
MOMENTUM_STATE = ("velocity",)


def state_names(cfg: OptimizerConfig) -> tuple[str, ...]:
    """The tensors kept of each parameter, float32 and of its shape."""
    match cfg.name:
        case "adamw" | "adam_weight_decay":
            return ADAM_STATE
        case "momentum":
            return MOMENTUM_STATE
        case _:
            assert_never(cfg.name)
