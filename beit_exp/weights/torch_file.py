"""Read a `torch.save` file without torch, and without running anything that it may carry.

A .pth is a zip archive: `*/data.pkl` describes the tensors, `*/data/<key>` hold their bytes.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading
from beit_exp.weights import bfloat16
from beit_exp.weights.description import Storage, StridedTensor, read_description

STORAGES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": bfloat16.BITS,
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}
CONTAINERS = ("model", "module", "state_dict")
SHARED = 2  # tensors may share storages, as tied weights do, and hold so many times the file


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, bare or under `model`, `module` or `state_dict`.

    `UserError` for anything else.
    """
    with reading(path):
        try:
            with zipfile.ZipFile(path) as archive:
                tensors = _Reader(archive, path).tensors()
        except zipfile.BadZipFile as error:
            raise UserError(
                f"{path} is truncated, or not the zip format that torch.save has written since "
                f"torch 1.6: {error}"
            ) from error
    if not tensors:
        raise UserError(
            f"{path} holds no state dict: no tensor at its top level, nor under "
            f"{', '.join(CONTAINERS)}"
        )
    return tensors


class _Reader:
    """Takes no more bytes from an archive than its file has."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive = archive
        self.path = path
        self.unread = path.stat().st_size
        self.unfilled = SHARED * self.unread  # bytes that tensors may still take
        self.storages: dict[Storage, np.ndarray] = {}

    def tensors(self) -> dict[str, np.ndarray]:
        names = self.archive.namelist()
        description = next((name for name in names if name.endswith("data.pkl")), None)
        if description is None:
            raise UserError(
                f"{self.path} is a zip archive but not one that torch.save wrote: it has no "
                "data.pkl"
            )
        content = read_description(self._read(description))
        prefix = description.removesuffix("data.pkl")
        return {
            name: self._tensor(value, prefix)
            for name, value in _state_dict(content).items()
            if isinstance(name, str) and isinstance(value, StridedTensor)
        }

    def _read(self, name: str) -> bytes:
        info = self.archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.unread:
            raise ValueError(f"{name} is compressed, or larger than its file; torch.save stores")
        self.unread -= info.file_size
        return self.archive.read(info)

    def _storage(self, storage: Storage, prefix: str) -> np.ndarray:
        if storage not in self.storages:
            if storage.kind not in STORAGES:
                raise ValueError(f"it holds a {storage.kind}; known are {', '.join(STORAGES)}")
            content = self._read(f"{prefix}data/{storage.key}")
            array = np.frombuffer(content, dtype=STORAGES[storage.kind])
            if len(array) != storage.length:
                raise ValueError(
                    f"storage {storage.key} holds {len(array)} elements instead of {storage.length}"
                )
            if storage.kind == "BFloat16Storage":
                array = bfloat16.widen(array)
            self.storages[storage] = array
        return self.storages[storage]

    def _tensor(self, tensor: StridedTensor, prefix: str) -> np.ndarray:
        """A strided part of a storage; refused where it would leave the storage."""
        storage, offset, size = self._storage(tensor.storage, prefix), tensor.offset, tensor.size
        count = math.prod(size)
        # A dimension of one element may have any stride
        stride = [step if n > 1 else 0 for n, step in zip(size, tensor.stride, strict=True)]
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and (last >= len(storage) or count > len(storage)):
            raise ValueError("a tensor reaches beyond its storage")
        self.unfilled -= count * STORAGES[tensor.storage.kind].itemsize
        if self.unfilled < 0:
            raise ValueError(f"its tensors hold more than {SHARED} times the file")
        if not count:
            return np.empty(size, storage.dtype)
        steps = [step * storage.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
        return view.copy()


def _state_dict(content: Any) -> dict[Any, Any]:
    if not isinstance(content, dict):
        return {}
    inner = (content.get(name) for name in CONTAINERS)
    return next((found for found in inner if isinstance(found, dict)), content)
