"""Loss scale of mixed precision: large enough that small float16 gradients do not vanish."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from beit_exp.config.schema import HardwareConfig


@dataclass
class LossScale:
    """A dynamic scale shrinks, to at least 1, after a step that overflowed, and grows after
    `window` that did not.
    """

    value: float
    is_dynamic: bool
    window: int
    growth: float = 2.0
    backoff: float = 0.5
    good_steps: int = 0

    def update(self, *, finite: bool) -> None:
        if not self.is_dynamic:
            return
        if not finite:
            self.value, self.good_steps = max(1.0, self.value * self.backoff), 0
        elif self.good_steps + 1 == self.window:
            self.value, self.good_steps = self.value * self.growth, 0
        else:
            self.good_steps += 1

    def state(self) -> dict[str, float | int | bool]:
        return asdict(self)


def build_loss_scale(cfg: HardwareConfig) -> LossScale:
    """The scale that a run begins with."""
    return LossScale(
        cfg.loss_scale,
        cfg.is_dynamic_loss_scale,
        window=cfg.loss_scale_window,
        growth=cfg.loss_scale_growth,
        backoff=cfg.loss_scale_backoff,
    )
