"""Loss scale of mixed precision: large enough that small float16 gradients do not vanish."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class LossScale:
    """Halved, to at least 1, after a step that overflowed; if dynamic, doubled after `window` steps that did not."""

    value: float
    window: int
    is_dynamic: bool
    good_steps: int = 0

    def update(self, *, finite: bool) -> None:
        if not self.is_dynamic:
            return
        if not finite:
            self.value, self.good_steps = max(1.0, self.value / 2), 0
        elif self.good_steps + 1 == self.window:
            self.value, self.good_steps = self.value * 2, 0
        else:
            self.good_steps += 1

    def state(self) -> dict[str, float | int | bool]:
        return asdict(self)
