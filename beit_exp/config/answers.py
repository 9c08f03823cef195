"""What a network answers about an image, as columns of a table."""

from __future__ import annotations

TOP = 5


def columns(num_classes: int) -> list[str]:
    """Headings of a table of rankings: the classes, then the probabilities."""
    ranks = range(1, min(TOP, num_classes) + 1)
    return [*(f"class{rank}" for rank in ranks), *(f"probability{rank}" for rank in ranks)]
