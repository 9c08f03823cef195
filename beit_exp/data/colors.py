"""Operations on the colours of (H, W, 4) bytes as Pillow does them, bit for bit.

Compiled by numba, so that none holds the interpreter's lock. Each returns a new image. Sources:
Pillow, ImageOps.py, ImageEnhance.py, libImaging/Blend.c, Convert.c and Filter.c.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from beit_exp.data.compiled import compiled

LEVELS = 256
SMOOTH_CENTER, SMOOTH_SUM = 5, 13  # ImageFilter.SMOOTH: 3 x 3 weights of 1, 5 in the middle


@compiled
def _look_up(pixels_HWC: np.ndarray, tables: np.ndarray) -> np.ndarray:
    height, width, _ = pixels_HWC.shape
    out_HWC = np.empty_like(pixels_HWC)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                out_HWC[y, x, channel] = tables[channel, pixels_HWC[y, x, channel]]
    return out_HWC


@compiled
def _histograms(pixels_HWC: np.ndarray) -> np.ndarray:
    height, width, _ = pixels_HWC.shape
    counts = np.zeros((3, LEVELS), np.int64)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                counts[channel, pixels_HWC[y, x, channel]] += 1
    return counts


@compiled
def _grey(red: int, green: int, blue: int) -> int:
    # ITU-R 601-2 in 16 binary places
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


@compiled
def _blend(degenerate: Any, value: Any, factor: Any) -> Any:
    """Between two levels, or beyond them: `factor` is that of the second, in single precision."""
    between = np.float32(value) - np.float32(degenerate)
    return np.uint8(
        np.int32(
            min(
                max(np.float32(degenerate) + np.float32(factor) * between, np.float32(0)),
                np.float32(255),
            )
        )
    )


@compiled
def solarize(pixels_HWC: np.ndarray, threshold: int) -> np.ndarray:
    """The negative of all levels from `threshold` on; at 0 of the whole image."""
    tables = np.empty((3, LEVELS), np.uint8)
    for level in range(LEVELS):
        tables[:, level] = level if level < threshold else 255 - level
    return _look_up(pixels_HWC, tables)


@compiled
def solarize_add(pixels_HWC: np.ndarray, added: int) -> np.ndarray:
    """The dark half of the levels, under 128, made brighter."""
    tables = np.empty((3, LEVELS), np.uint8)
    for level in range(LEVELS):
        tables[:, level] = min(255, level + added) if level < 128 else level
    return _look_up(pixels_HWC, tables)


@compiled
def posterize(pixels_HWC: np.ndarray, bits: int) -> np.ndarray:
    """The highest `bits` of each channel; at 0 it is black, which newer Pillows refuse."""
    tables = np.empty((3, LEVELS), np.uint8)
    for level in range(LEVELS):
        tables[:, level] = level & (256 - (1 << (8 - bits)))
    return _look_up(pixels_HWC, tables)


@compiled
def autocontrast(pixels_HWC: np.ndarray) -> np.ndarray:
    """Each channel stretched from its lowest and highest level to 0 and 255."""
    counts = _histograms(pixels_HWC)
    tables = np.empty((3, LEVELS), np.uint8)
    for channel in range(3):
        there = np.flatnonzero(counts[channel])
        low, high = there[0], there[-1]
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        for level in range(LEVELS):
            tables[channel, level] = min(max(int(level * scale + offset), 0), 255)
    return _look_up(pixels_HWC, tables)


@compiled
def equalize(pixels_HWC: np.ndarray) -> np.ndarray:
    """Each channel with about as many pixels of each level."""
    counts = _histograms(pixels_HWC)
    tables = np.empty((3, LEVELS), np.uint8)
    for channel in range(3):
        there = np.flatnonzero(counts[channel])
        step = (counts[channel].sum() - counts[channel, there[-1]]) // 255
        below = step // 2
        for level in range(LEVELS):
            tables[channel, level] = level if step == 0 else min(below // step, 255)
            below += counts[channel, level]
    return _look_up(pixels_HWC, tables)


@compiled
def brightness(pixels_HWC: np.ndarray, factor: float) -> np.ndarray:
    """Between black at 0 and the image at 1, and beyond it."""
    tables = np.empty((3, LEVELS), np.uint8)
    for level in range(LEVELS):
        tables[:, level] = _blend(0, level, factor)
    return _look_up(pixels_HWC, tables)


@compiled
def contrast(pixels_HWC: np.ndarray, factor: float) -> np.ndarray:
    """Between its mean grey at 0 and the image at 1, and beyond it."""
    height, width, _ = pixels_HWC.shape
    total = 0
    for y in range(height):
        for x in range(width):
            red, green, blue = pixels_HWC[y, x, 0], pixels_HWC[y, x, 1], pixels_HWC[y, x, 2]
            total += _grey(int(red), int(green), int(blue))
    mean = int(total / (height * width) + 0.5)
    tables = np.empty((3, LEVELS), np.uint8)
    for level in range(LEVELS):
        tables[:, level] = _blend(mean, level, factor)
    return _look_up(pixels_HWC, tables)


@compiled
def saturation(pixels_HWC: np.ndarray, factor: float) -> np.ndarray:
    """Between its greys at 0 and the image at 1, and beyond it."""
    height, width, _ = pixels_HWC.shape
    out_HWC = np.empty_like(pixels_HWC)
    for y in range(height):
        for x in range(width):
            red, green, blue = pixels_HWC[y, x, 0], pixels_HWC[y, x, 1], pixels_HWC[y, x, 2]
            grey = _grey(int(red), int(green), int(blue))
            for channel in range(3):
                out_HWC[y, x, channel] = _blend(grey, pixels_HWC[y, x, channel], factor)
    return out_HWC


@compiled
def sharpness(pixels_HWC: np.ndarray, factor: float) -> np.ndarray:
    """Between the image smoothed at 0 and itself at 1, and beyond it; its border stays."""
    height, width, _ = pixels_HWC.shape
    side = np.float32(np.float32(1) / np.float32(SMOOTH_SUM))
    center = np.float32(np.float32(SMOOTH_CENTER) / np.float32(SMOOTH_SUM))
    rows = pixels_HWC.reshape((height, width * 4))
    out = rows.copy()
    sums = np.empty(width * 4, np.float32)
    for y in range(1, height - 1):
        sums[:] = np.float32(0.5)
        for line, middle in ((rows[y + 1], side), (rows[y], center), (rows[y - 1], side)):
            for place in range(4, width * 4 - 4):
                sums[place] += (
                    np.float32(line[place - 4]) * side
                    + np.float32(line[place]) * middle
                    + np.float32(line[place + 4]) * side
                )
        for place in range(4, width * 4 - 4):
            smooth = np.uint8(np.int32(min(max(sums[place], np.float32(0)), np.float32(255))))
            out[y, place] = _blend(smooth, rows[y, place], factor)
    return out.reshape(pixels_HWC.shape)


@compiled
def mirror(pixels_HWC: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    height, width, _ = pixels_HWC.shape
    source = pixels_HWC.reshape(-1).view(np.uint32).reshape((height, width))
    out = np.empty((height, width), np.uint32)
    for y in range(height):
        for x in range(width):
            out[y, x] = source[y, width - 1 - x]
    return out.reshape(-1).view(np.uint8).reshape(pixels_HWC.shape)
