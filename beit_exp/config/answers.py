"""What a network answers about an image, as columns of a table."""

from __future__ import annotations

TOP = 5


def columns(num_classes: int, *, multi_label: bool) -> list[str]:
    """Headings of a table of answers: of several labels an image these, then the likeliest classes
    and their probabilities.
    """
    ranks = range(1, min(TOP, num_classes) + 1)
    found = [*(f"class{rank}" for rank in ranks), *(f"probability{rank}" for rank in ranks)]
    return ["labels", *found] if multi_label else found
