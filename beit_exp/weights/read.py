"""Weights files of any origin, read under our names.

Official .pth, timm's or Hugging Face's .safetensors, MindSpore's .ckpt, and checkpoints of ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from beit_exp.errors import UserError
from beit_exp.storage.files import replacing
from beit_exp.storage.foreign import reading
from beit_exp.train.checkpoint import load_checkpoint, read_state
from beit_exp.weights.names import Arrays, from_mindspore_name, to_ours
from beit_exp.weights.torch_file import read_torch_file

PREFIX, AVERAGED = "model/", "ema/"  # of the network's tensors in a checkpoint, and their averages


def read_weights(path: Path, *, is_averaged: bool = False) -> Arrays:
    """The float32 arrays of a weights file under our parameter names.

    `UserError` if the file cannot be read, or holds no block of a BEiT.
    """
    return to_weights(read_arrays(path, is_averaged=is_averaged), path)


def to_weights(arrays: Arrays, path: Path) -> Arrays:
    """Tensors of the file at `path`, under any of the names that we know, as `read_weights`."""
    with reading(path):
        ours = to_ours(arrays)
    if not any(name.startswith("blocks.") for name in ours):
        raise UserError(
            f"{path} holds no weights of a BEiT: none of its {len(arrays)} tensors belongs to a "
            "block. Take a checkpoint of this project, or one of BEiT's under its published names"
        )
    found = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in ours.items()}
    check_finite(found, path)
    return found


def read_arrays(path: Path, *, is_averaged: bool = False) -> Arrays:
    """The tensors of a weights file under the names that they have there; of a checkpoint of ours,
    the network's.
    """
    if path.suffix in (".pth", ".pt", ".bin"):
        return read_torch_file(path)
    if path.suffix == ".ckpt":
        from beit_exp.weights.mindspore_file import read_mindspore_file  # brings MindSpore

        return {
            from_mindspore_name(name): array for name, array in read_mindspore_file(path).items()
        }
    if path.suffix == ".safetensors":
        return _read_safetensors(path, is_averaged=is_averaged)
    raise UserError(
        f"{path}: weights are read from .pth, .pt, .bin, .safetensors and .ckpt files alone"
    )


def read_checkpoint(path: Path, *, is_averaged: bool = False) -> Arrays:
    """The network's arrays in a checkpoint of ours, or their averages where there are such.

    `UserError` if it is damaged or none. What was frozen has no average.
    """
    tensors = load_checkpoint(path).tensors
    return {
        name.removeprefix(prefix): array
        for prefix in ((PREFIX, AVERAGED) if is_averaged else (PREFIX,))
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _read_safetensors(path: Path, *, is_averaged: bool) -> Arrays:
    if read_state(path) is not None:
        return read_checkpoint(path, is_averaged=is_averaged)
    with reading(path):
        return dict(load_file(path))


def check_finite(arrays: Arrays, path: Path) -> None:
    """Raise `UserError` for weights that no training can have meant."""
    unlike = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if unlike:
        raise UserError(
            f"{path} is refused: {len(unlike)} of its {len(arrays)} tensors hold NaN or infinity, "
            f"such as {unlike[0]}"
        )


def save_weights(arrays: Arrays, path: Path) -> None:
    """A .safetensors file that torch's readers take too."""
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"format": "pt"})
