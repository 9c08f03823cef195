"""What a self-check tells: lines, each with its numbers and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Outcome(NamedTuple):
    """What a check saw, and whether that is right; None where nothing says what is."""

    passed: bool | None
    seen: str


@dataclass(frozen=True)
class Line:
    """A check by its name, and what became of it."""

    name: str
    seen: str
    passed: bool | None

    def __str__(self) -> str:
        words = {True: "passed", False: "FAILED", None: "told"}
        return f"{words[self.passed]:8}{self.name:34}{self.seen}"


def merge_ranks(ranks: Sequence[Sequence[Line]]) -> list[Line]:
    """A line for each check that any rank came to: the first rank's, or the first that failed."""
    longest = max(ranks, key=len, default=[])
    return [_merge([lines[place : place + 1] for lines in ranks]) for place in range(len(longest))]


def _merge(ranks: Sequence[Sequence[Line]]) -> Line:
    """Of one check, which a rank may not have come to."""
    found = {rank: lines[0] for rank, lines in enumerate(ranks) if lines}
    failed = [rank for rank, line in found.items() if line.passed is False]
    if not failed:
        return next(iter(found.values()))
    line = found[failed[0]]
    who = f" (on rank {', '.join(map(str, failed))})" if len(ranks) > 1 else ""
    return Line(line.name, line.seen + who, passed=False)
