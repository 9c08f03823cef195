"""The compiled operators for a CPU, called as MindSpore calls them but without it."""

from __future__ import annotations

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from settings import ROOT

FOLDER = ROOT / "beit_exp" / "model" / "operations"
COMPILED = FOLDER / ("_native" + EXTENSION_SUFFIXES[0])
SUCCESS, NO_MEMORY, WRONG_ARGUMENTS = 0, 2, 3  # csrc/native.h
EPSILON = 1e-6


def onednn() -> Path:
    spec = find_spec("mindspore")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "lib" / "libdnnl.so.3"


def open_kernels(*, threads: int) -> ctypes.CDLL:
    library = ctypes.CDLL(str(COMPILED))
    path, epsilon = str(onednn()).encode(), ctypes.c_float(EPSILON)
    assert library.native_open(path, threads, epsilon) == SUCCESS
    return library


def call(library: ctypes.CDLL, name: str, *arrays: np.ndarray | None) -> int:
    """What an operator returns for its inputs and outputs; None for an array (3, 4) of no place."""
    count = len(arrays)
    shapes = [(3, 4) if array is None else array.shape for array in arrays]
    axes = (ctypes.c_int * count)(*map(len, shapes))
    lengths = [(ctypes.c_int64 * max(len(shape), 1))(*shape) for shape in shapes]
    rows = (ctypes.c_void_p * count)(*(ctypes.addressof(shape) for shape in lengths))
    kinds = ["float32" if array is None else str(array.dtype) for array in arrays]
    names = (ctypes.c_char_p * count)(*(kind.encode() for kind in kinds))
    starts = (ctypes.c_void_p * count)(
        *(None if array is None else array.ctypes.data for array in arrays)
    )
    return getattr(library, name)(count, starts, axes, rows, names, None, None)
