"""NumPy has no bfloat16: files that hold it are read as bits."""

from __future__ import annotations

import numpy as np

BITS = np.dtype("<u2")


def widen(bits: np.ndarray) -> np.ndarray:
    """The same numbers as float32, of which these bits are the upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
