"""Policy strings of RandAugment, as timm writes them: `rand-m9-mstd0.5-inc1`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

MAX_LEVEL = 10.0
GRAMMAR = (
    "rand-m<0..10>[-n<operations>][-mstd<noise>][-mmax<limit>][-inc<0 or 1>], "
    "e.g. rand-m9-mstd0.5-inc1"
)


@dataclass(frozen=True)
class Policy:
    """What a policy string says.

    `rand-m9-mstd0.5-inc1`: magnitude 9 ± 0.5, two operations, severities that grow with magnitude.
    """

    magnitude: float
    magnitude_std: float  # infinite: uniform between 0 and the magnitude
    max_magnitude: float
    num_operations: int
    increasing: bool


def parse_policy(text: str) -> Policy:
    """Read a policy string; a `ValueError` names the part that is wrong."""
    head, *parts = text.split("-")
    values: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"(mstd|mmax|inc|m|n)(\d+(?:\.\d+)?)", part)
        if match is None:
            raise ValueError(f"{part!r} is not understood; allowed: {GRAMMAR}")
        if match[1] in values:
            raise ValueError(f"{match[1]!r} stands twice; allowed: {GRAMMAR}")
        values[match[1]] = float(match[2])
    if head != "rand" or "m" not in values:
        raise ValueError(f"must be null or {GRAMMAR}")
    limit = values.get("mmax", MAX_LEVEL)
    in_range = {
        "m": values["m"] <= MAX_LEVEL,
        "n": values.get("n", 2) >= 1 and values.get("n", 2) % 1 == 0,
        "mmax": 0 < limit <= MAX_LEVEL,
        "inc": values.get("inc", 0) in (0, 1),
    }
    for name, holds in in_range.items():
        if not holds:
            raise ValueError(f"{name} is out of range; allowed: {GRAMMAR}")
    noise = values.get("mstd", 0.0)
    return Policy(
        magnitude=values["m"],
        # Timm: a deviation above 100 means uniform
        magnitude_std=math.inf if noise > 100 else noise,
        max_magnitude=limit,
        num_operations=int(values.get("n", 2)),
        increasing=bool(values.get("inc", 0)),
    )
