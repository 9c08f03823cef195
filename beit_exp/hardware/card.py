"""What kinds of Ascend cards there are, as far as a training depends on it."""

from __future__ import annotations

import os
from typing import Any, Literal

from typing_extensions import assert_never

from beit_exp.config.schema import HardwareConfig
from beit_exp.errors import UserError

# MindSpore's names. Atlas training cards, as the 910A: products saturate, there is no bfloat16, and
# the compiler of fused kernels stops ("DVM EXCEPTION. reason: Unrecognized SoC Version")
ATLAS_TRAINING = "ascend910"
LATER = ("ascend910b", "ascend910_93")  # Atlas A2 and A3, as the 910B


def soc_version() -> str:
    """The kind of this process's card, like ascend910b; empty where MindSpore does not tell."""
    from mindspore._c_expression import MSContext  # as mindspore.train asks

    return str(MSContext.get_instance().get_ascend_soc_version())


def is_saturating() -> bool:
    """Whether products that overflow give the largest number, and not infinity.

    A later card does where MS_ASCEND_CHECK_OVERFLOW_MODE says so: what `amp.all_finite` asks.
    """
    is_asked = os.environ.get("MS_ASCEND_CHECK_OVERFLOW_MODE") == "SATURATION_MODE"
    return is_asked or soc_version() == ATLAS_TRAINING


def choose_jit_level(cfg: HardwareConfig) -> Literal["O0", "O1"]:
    """How far the compiler goes: O1 fuses operators into kernels; `UserError` if a card cannot."""
    match cfg.jit_level:
        case "auto":
            return "O1" if soc_version() in LATER else "O0"
        case "O1" if soc_version() == ATLAS_TRAINING:
            raise UserError(
                "hardware.jit_level = 'O1': MindSpore 2.10 fuses kernels for a 910B and later; "
                "auto and O0 work on this card"
            )
        case "O0" | "O1":
            return cfg.jit_level
        case _:
            assert_never(cfg.jit_level)


def choose_half(cfg: HardwareConfig) -> Any:
    """The element type of mixed precision; `UserError` if the card does not have it."""
    import mindspore as ms

    match cfg.half:
        case "float16":
            return ms.float16
        case "bfloat16" if soc_version() == ATLAS_TRAINING:
            raise UserError(
                "hardware.half = 'bfloat16': this card has float16 alone; a 910B has both"
            )
        case "bfloat16":
            return ms.bfloat16
        case "auto":
            return ms.bfloat16 if soc_version() in LATER else ms.float16
        case _:
            assert_never(cfg.half)
