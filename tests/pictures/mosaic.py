"""A photograph in a few coloured cells, small enough for a drawing.

It is flower.jpg of scikit-learn's sample images: by vultilion on Flickr, CC BY 2.0.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

CELLS, COLORS = 56, 20  # cells along a side


@cache
def photograph() -> Image.Image:
    """The square in the middle of the photograph."""
    image = Image.fromarray(load_sample_image("flower.jpg"))
    left = (image.width - image.height) // 2
    return image.crop((left, 0, left + image.height, image.height))


@cache
def photograph_paths(side: float) -> str:
    """SVG paths of the photograph as a square of that side, one for each colour."""
    small = photograph().resize((CELLS, CELLS), Image.Resampling.BOX).quantize(COLORS)
    numbers, colors = np.asarray(small), np.array(small.getpalette()).reshape(-1, 3)
    cell = side / CELLS
    paths = []
    for number in np.unique(numbers):
        runs = "".join(
            f"M{first} {row}h{last - first}v1h-{last - first}z"
            for row, line in enumerate(numbers == number)
            for first, last in runs_of(line)
        )
        red, green, blue = colors[number]
        paths.append(f'<path fill="#{red:02x}{green:02x}{blue:02x}" d="{runs}"/>')
    return f'<g transform="scale({cell:g})" shape-rendering="crispEdges">{"".join(paths)}</g>'


def runs_of(line: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of each row of neighbours that are true."""
    edges = np.flatnonzero(np.diff(np.r_[False, line, False].astype(int)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
