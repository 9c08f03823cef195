from __future__ import annotations

import re

import numpy as np

from pictures.mosaic import CELLS, photograph_paths, runs_of


def test_runs_are_what_they_were_made_of() -> None:
    line = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1], bool)
    assert runs_of(line) == [(0, 2), (3, 4), (6, 9)]


def test_the_colours_fill_the_photograph_once() -> None:
    widths = [int(width) for width in re.findall(r"h(\d+)v1", photograph_paths(10.0))]
    assert sum(widths) == CELLS**2
