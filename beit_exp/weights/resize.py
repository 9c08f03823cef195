"""Relative position tables and position embeddings carried to another grid."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RectBivariateSpline

CLASS_ROWS = 3  # the last rows of a table belong to the class token


def is_table_size(rows: int) -> bool:
    """Whether a table of so many rows is that of a square grid and a class token."""
    side = round(max(0, rows - CLASS_ROWS) ** 0.5)
    return side * side + CLASS_ROWS == rows and side % 2 == 1


def is_embedding_size(tokens: int) -> bool:
    """Whether so many positions are those of a square grid and a class token."""
    side = round(max(0, tokens - 1) ** 0.5)
    return side > 0 and side * side + 1 == tokens


def resize_table(table: np.ndarray, rows: int) -> np.ndarray:
    """(rows, H) float32 of an (n, H) relative position table, carried to another grid.

    The last three rows, the class token's, stay. Distances between patches are laid out in a
    geometric progression, dense in the middle, so that the middle of the table is kept and its rim
    stretched; a cubic spline reads off the new distances. Source: unilm/beit
    run_class_finetuning.py.
    """
    source_side = round((len(table) - CLASS_ROWS) ** 0.5)
    target_side = round((rows - CLASS_ROWS) ** 0.5)
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        reach = (1 - ratio ** (source_side // 2)) / (1 - ratio)
        low, high = (low, ratio) if reach > target_side // 2 else (ratio, high)
    steps = np.cumsum(ratio ** np.arange(source_side // 2))
    places = np.concatenate([-steps[::-1], [0], steps])
    wanted = np.arange(-(target_side // 2), target_side // 2 + 1)
    grids = table[:-CLASS_ROWS].reshape(source_side, source_side, -1).astype(np.float64)
    degree = min(3, source_side - 1)  # a cubic needs four places; the smallest tables have three
    resized = [
        RectBivariateSpline(places, places, grids[:, :, head], kx=degree, ky=degree)(wanted, wanted)
        for head in range(grids.shape[2])
    ]
    body = np.stack(resized, axis=-1).reshape(target_side * target_side, -1)
    return np.concatenate([body, table[-CLASS_ROWS:]]).astype(np.float32)


def resize_positions(positions: np.ndarray, tokens: int) -> np.ndarray:
    """(1, tokens, D) float32 of a (1, N, D) position embedding, carried to another grid.

    Patches' positions are interpolated as torch does (bicubic), the class token's stays.
    """
    old, new = round((positions.shape[1] - 1) ** 0.5), round((tokens - 1) ** 0.5)
    weights = _bicubic(old, new)
    grid = positions[0, 1:].reshape(old, old, -1)
    resized = np.einsum("ai,bj,ijd->abd", weights, weights, grid).reshape(1, new * new, -1)
    return np.concatenate([positions[:, :1], resized], axis=1).astype(np.float32)


def _bicubic(old: int, new: int) -> np.ndarray:
    """(new, old) weights of torch's bicubic with align_corners=False: Keys' kernel, a = -0.75."""
    a = -0.75
    weights = np.zeros((new, old))
    for row in range(new):
        center = (row + 0.5) * old / new - 0.5
        base = int(np.floor(center))
        for tap in range(base - 1, base + 3):
            x = abs(center - tap)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[row, min(max(tap, 0), old - 1)] += near if x <= 1 else far
    return weights
