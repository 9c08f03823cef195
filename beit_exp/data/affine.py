"""Affine transforms as Pillow does them, bit for bit, compiled by numba.

Source: Pillow, libImaging/Geometry.c and Image.rotate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from beit_exp.data.compiled import compiled

TAPS = 4  # of the bicubic filter, in each direction; the bilinear one has the middle two
Color = tuple[int, int, int]
Matrix = tuple[float, float, float, float, float, float]


def transform(
    pixels_HWC: np.ndarray, matrix: Matrix, resample: Image.Resampling, *, fill: Color
) -> np.ndarray:
    """(H, W, 4) bytes -> as many; the pixel at (x, y) is that from (a x + b y + c, d x + e y + f).

    It is `fill` if that lies outside. The filter is bilinear or bicubic.
    """
    a, b, c, d, e, f = matrix
    numbers = float(a), float(b), float(c), float(d), float(e), float(f)
    return _transform(pixels_HWC, numbers, resample == Image.Resampling.BICUBIC, fill)


def rotation(width: int, height: int, degrees: float) -> Matrix:
    """The matrix that turns an image about its centre, against the clock."""
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y


@compiled
def _cubic(v1: float, v2: float, v3: float, v4: float, d: float) -> float:
    v1, v2, v3, v4 = float(v1), float(v2), float(v3), float(v4)  # bytes would wrap around
    return v2 + d * ((v3 - v1) + d * ((2 * (v1 - v2) + v3 - v4) + d * (v2 - v1 - v3 + v4)))


@compiled
def _linear(v1: float, v2: float, d: float) -> float:
    v1, v2 = float(v1), float(v2)
    return v1 + (v2 - v1) * d


@compiled
def _transform(pixels_HWC: np.ndarray, matrix: Any, is_bicubic: bool, fill: Any) -> np.ndarray:
    height, width, _ = pixels_HWC.shape
    pixels = pixels_HWC.reshape(-1).view(np.uint32)
    moved = np.empty((height, width * 4), np.uint8)
    x_in, y_in = np.empty(width), np.empty(width)
    columns, rows = np.empty((TAPS, width), np.int64), np.empty((TAPS, width), np.int64)
    dx, dy = np.empty((width, 4)), np.empty((width, 4))
    neighbours = np.empty((TAPS, width), np.uint32)
    lines, line = np.empty((TAPS, width * 4)), np.empty(width * 4)
    for y in range(height):
        _places(matrix, y, x_in, y_in)
        slides_x, slides_y = _split(x_in, width, columns, dx), _split(y_in, height, rows, dy)
        # Where all lie on a line of pixels a sum is its second number, to the bit
        for row in range(TAPS) if slides_y else range(1, 2):
            for tap in range(TAPS) if slides_x else range(1, 2):
                for x in range(width):
                    neighbours[tap, x] = pixels[rows[row, x] * width + columns[tap, x]]
            _combine(neighbours.view(np.uint8), dx.reshape(-1), slides_x, is_bicubic, lines[row])
        _combine(lines, dy.reshape(-1), slides_y, is_bicubic, line)
        for place in range(width * 4):
            moved[y, place] = np.int32(min(max(line[place], 0.0), 255.0))
        for x in range(width):
            if not (0.0 <= x_in[x] < width and 0.0 <= y_in[x] < height):
                for channel in range(3):
                    moved[y, x * 4 + channel] = fill[channel]
    return moved.reshape((height, width, 4))


@compiled
def _places(matrix: Any, y: int, x_in: np.ndarray, y_in: np.ndarray) -> None:
    """Whence the middles of a row's pixels come."""
    a, b, c, d, e, f = matrix
    for x in range(len(x_in)):
        x_in[x] = a * (x + 0.5) + b * (y + 0.5) + c
        y_in[x] = d * (x + 0.5) + e * (y + 0.5) + f


@compiled
def _split(places: np.ndarray, size: int, pixels: np.ndarray, distances: np.ndarray) -> bool:
    """The pixels around each place in one direction, and how far it is from the second of them.

    Returns whether it is anywhere.
    """
    furthest = 0.0
    for x in range(len(places)):
        first = np.floor(places[x] - 0.5)
        distance = places[x] - 0.5 - first
        furthest = max(furthest, distance)
        for channel in range(4):
            distances[x, channel] = distance
        pixels[1, x] = np.int64(first)
    for tap in (0, 2, 3, 1):
        for x in range(len(places)):
            pixels[tap, x] = min(max(pixels[1, x] - 1 + tap, 0), size - 1)
    return furthest > 0.0


@compiled
def _combine(
    taps: np.ndarray, distances: np.ndarray, slides: bool, is_bicubic: bool, out: np.ndarray
) -> None:
    if not slides:
        for place in range(len(out)):
            out[place] = float(taps[1, place])
    elif is_bicubic:
        for place in range(len(out)):
            out[place] = _cubic(
                taps[0, place], taps[1, place], taps[2, place], taps[3, place], distances[place]
            )
    else:
        for place in range(len(out)):
            out[place] = _linear(taps[1, place], taps[2, place], distances[place])
