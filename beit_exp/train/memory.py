"""What a device must hold while it trains, by our own count."""

from __future__ import annotations

from typing import Any

import mindspore as ms

from beit_exp.config.schema import Config
from beit_exp.model.cost import FLOAT16, FLOAT32, training_bytes
from beit_exp.model.precision import build_precision
from beit_exp.optim.state import state_names


def computed_bytes(cfg: Config, *, half: Any) -> int:
    """Bytes that fine-tuning needs at least on a device with this half precision."""
    precision = build_precision(cfg.hardware.amp_level, half=half)
    product, layer = (
        FLOAT32 if kind is ms.float32 else FLOAT16
        for kind in (precision.product, precision.activation)
    )
    moments = len(state_names(cfg.optimizer))
    return training_bytes(cfg, product=product, layer=layer, moments=moments)
