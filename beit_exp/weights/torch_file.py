"""Read a `torch.save` file without torch, and without running anything that it may carry.

A .pth is a zip archive: `*/data.pkl` describes the tensors, `*/data/<key>` hold their bytes. A
pickle can name any function to call; this reader knows the handful that describe tensors and plain
containers and refuses the others.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.errors import UserError

STORAGES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),  # NumPy has no bfloat16: read as bits, widened below
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}
CONTAINERS = ("model", "module", "state_dict")


class Namespace:
    """Stands for the training arguments that some files keep beside the weights; not used."""


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, bare or under `model`, `module` or `state_dict`.

    `UserError` for anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            description = next(
                (name for name in archive.namelist() if name.endswith("data.pkl")), None
            )
            if description is None:
                raise UserError(
                    f"{path} is a zip archive but not one that torch.save wrote: it has no data.pkl"
                )
            prefix = description.removesuffix("data.pkl")
            with archive.open(description) as file:
                content = _Unpickler(file, archive, prefix).load()
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path} is truncated, or not the zip format that torch.save has written since torch "
            f"1.6: {error}"
        ) from error
    except (
        pickle.UnpicklingError,
        KeyError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise UserError(f"{path} is refused: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if isinstance(content, dict):
        content = next(
            (content[name] for name in CONTAINERS if isinstance(content.get(name), dict)), content
        )
    tensors = {name: value for name, value in _items(content) if isinstance(value, np.ndarray)}
    if not tensors:
        raise UserError(
            f"{path} holds no state dict: no tensor at its top level, nor under "
            f"{', '.join(CONTAINERS)}"
        )
    return tensors


def _items(content: Any) -> list[tuple[str, Any]]:
    return (
        [(name, value) for name, value in content.items() if isinstance(name, str)]
        if isinstance(content, dict)
        else []
    )


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self.archive = archive
        self.prefix = prefix

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return collections.OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuild_tensor
            case "torch._utils", "_rebuild_parameter":
                return _rebuild_parameter
            case "torch", _ if name in STORAGES:
                return name
            case "argparse", "Namespace":
                return Namespace
        raise pickle.UnpicklingError(
            f"it asks to run {module}.{name}; weights are tensors and plain containers alone"
        )

    def persistent_load(self, identifier: Any) -> np.ndarray:
        kind, storage, key, _, count = identifier
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to {kind!r}, which is no storage of a tensor")
        array = np.frombuffer(
            self.archive.read(f"{self.prefix}data/{key}"), dtype=STORAGES[storage]
        )
        if len(array) != count:
            raise pickle.UnpicklingError(
                f"storage {key} holds {len(array)} elements instead of {count}"
            )
        if storage == "BFloat16Storage":  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array


def _rebuild_tensor(
    storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> np.ndarray:
    """A strided view of a storage, as NumPy sees it; refused where it would leave the storage."""
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if offset < 0 or min((*size, *stride, 0)) < 0 or (0 not in size and last >= len(storage)):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False).copy()


def _rebuild_parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data
