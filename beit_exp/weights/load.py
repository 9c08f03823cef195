"""Weights files of any origin, read under our names, and set into a network.

Official .pth, timm's or Hugging Face's .safetensors, MindSpore's .ckpt, and checkpoints of ours.
Arrays are brought to our parameter names first, then fitted to the network (`fit.py`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn
from mindspore import load_checkpoint as load_mindspore
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from beit_exp.errors import UserError
from beit_exp.storage.files import replacing
from beit_exp.train.checkpoint import FORMAT, find_checkpoint, load_checkpoint
from beit_exp.weights.fit import Outcome, fit_to
from beit_exp.weights.names import Arrays, from_mindspore_name, to_ours
from beit_exp.weights.torch_file import read_torch_file

logger = logging.getLogger(__name__)
PREFIX = "model/"  # of the network's tensors in a checkpoint, beside the optimizer's


def load_pretrained(network: nn.Cell, place: str) -> Outcome:
    """Set the network from `model.pretrained`; the head and the final norm may be new.

    `UserError` if anything else of the network is not in the file, or does not fit.
    """
    return _load(network, find_checkpoint(place), may_be_new=("head.", "fc_norm."))


def load_trained(network: nn.Cell, place: str) -> Outcome:
    """Set the whole network, head included, from `checkpoint`; `UserError` if one does not fit."""
    return _load(network, find_checkpoint(place), may_be_new=())


def saved_classes(place: str) -> list[str]:
    """The class names that a checkpoint of ours was trained on; none for a foreign file."""
    path = find_checkpoint(place)
    return list(load_checkpoint(path).state.get("classes", [])) if _is_ours(path) else []


def _load(network: nn.Cell, path: Path, *, may_be_new: tuple[str, ...]) -> Outcome:
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    arrays, outcome = fit_to(shapes, read_weights(path), path=path, may_be_new=may_be_new)
    for name, array in arrays.items():
        parameters[name].set_data(Tensor(array))
    logger.info("weights of %s\n%s", path, outcome.table())
    return outcome


def read_weights(path: Path) -> Arrays:
    """The float32 arrays of a weights file under our parameter names.

    `UserError` if the file cannot be read, or holds no block of a BEiT.
    """
    if path.suffix in (".pth", ".pt", ".bin"):
        arrays = read_torch_file(path)
    elif path.suffix == ".ckpt":
        arrays = _read_mindspore(path)
    elif path.suffix == ".safetensors":
        arrays = _read_safetensors(path)
    else:
        raise UserError(
            f"{path}: weights are read from .pth, .pt, .bin, .safetensors and .ckpt files alone"
        )
    ours = to_ours(arrays)
    if not any(name.startswith("blocks.") for name in ours):
        raise UserError(
            f"{path} holds no weights of a BEiT: none of its {len(arrays)} tensors belongs to a "
            "block"
        )
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in ours.items()}


def read_checkpoint(path: Path) -> Arrays:
    """The network's arrays in a checkpoint of ours; `UserError` if it is damaged or none."""
    return {
        name.removeprefix(PREFIX): array
        for name, array in load_checkpoint(path).tensors.items()
        if name.startswith(PREFIX)
    }


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    with safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get("format") == FORMAT


def _read_safetensors(path: Path) -> Arrays:
    try:
        if not _is_ours(path):
            return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return read_checkpoint(path)


def _read_mindspore(path: Path) -> Arrays:
    try:
        parameters = load_mindspore(str(path))
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(
            f"{path} cannot be read as a MindSpore checkpoint: {str(error).splitlines()[0]}"
        ) from error
    return {
        from_mindspore_name(name): parameter.asnumpy() for name, parameter in parameters.items()
    }


def save_weights(arrays: Arrays, path: Path) -> None:
    """A .safetensors file that torch's readers take too."""
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"format": "pt"})
