"""What a law over several settings is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A law over several settings; judged only when each of them is valid by itself."""

    keys: tuple[str, ...]
    holds: Callable[..., bool]
    allowed: str
