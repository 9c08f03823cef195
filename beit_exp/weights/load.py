"""Weights of any origin into our network: official .pth, timm or Hugging Face .safetensors,
MindSpore .ckpt, ours.

    python -m beit_exp.weights IN OUT [--to ours|official|huggingface]      converts a file

Files are brought to our parameter names first, then fitted to the network: tables and position
embeddings resized, a shared table copied to every block, a foreign head left out. Whatever does not
fit is an error, never a silence.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn
from mindspore import load_checkpoint as load_mindspore
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from beit_exp.errors import UserError
from beit_exp.storage.files import replacing
from beit_exp.train.checkpoint import FORMAT, find_checkpoint, load_checkpoint
from beit_exp.weights.names import TABLE, Arrays, _norm_name, to_ours
from beit_exp.weights.resize import _is_table, resize_positions, resize_table
from beit_exp.weights.torch_file import read_torch_file

logger = logging.getLogger(__name__)

PRETRAINING_ONLY = ("mask_token", "lm_head.", "norm.")


@dataclass
class Outcome:
    """What became of every tensor of a file and every parameter of the network."""

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def table(self) -> str:
        rows = {
            "loaded": self.loaded,
            "resized": self.resized,
            "dropped": self.dropped,
            "left new": self.new,
            "unused": self.unused,
        }
        lines = [f"{'what':10}{'count':>6}  which"]
        for what, names in rows.items():
            shown = (
                ", ".join(names[:16]) + (", ..." if len(names) > 16 else "")
                if what != "loaded"
                else ""
            )
            lines.append(f"{what:10}{len(names):>6}  {shown}".rstrip())
        return "\n".join(lines)


def load_pretrained(network: nn.Cell, place: str) -> Outcome:
    """Set the network from `model.pretrained`; the head and the final norm may be new."""
    return _load(network, find_checkpoint(place), may_be_new=("head.", "fc_norm."))


def load_trained(network: nn.Cell, place: str) -> Outcome:
    """Set the whole network, head included, from `checkpoint`."""
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
    """The float32 arrays of a weights file under our parameter names."""
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


def fit_to(
    shapes: dict[str, tuple[int, ...]], source: Arrays, *, path: Path, may_be_new: tuple[str, ...]
) -> tuple[Arrays, Outcome]:
    """Arrays for a network's parameters, and what was done; `UserError` if a parameter would stay
    unset.
    """
    source = dict(source)
    outcome = Outcome()
    shared = f"rel_pos_bias.{TABLE}"
    if shared in source and shared not in shapes:
        table = source.pop(shared)
        for name in shapes:
            if name.endswith(f".rel_pos.{TABLE}"):
                source[name] = table
    is_pretraining = any(name.startswith(("mask_token", "lm_head.")) for name in source)
    arrays: Arrays = {}
    problems = []
    for name, shape in shapes.items():
        array = source.pop(name, None)
        is_optional = name.startswith(may_be_new) if may_be_new else False
        if array is None:
            # A head or a final norm may be missing from self-supervised weights alone, which have
            # neither.
            if is_optional and is_pretraining:
                outcome.new.append(name)
            else:
                problems.append(f"{name} {shape} is missing")
            continue
        if array.shape != shape:
            note = f"{name} {array.shape} -> {shape}"
            if name.startswith("head.") and is_optional and array.shape[1:] == shape[1:]:
                outcome.dropped.append(f"{name} {array.shape}")
                outcome.new.append(name)
                continue
            if (
                name.endswith(TABLE)
                and array.shape[1] == shape[1]
                and _is_table(array)
                and _is_table(np.empty(shape))
            ):
                array = resize_table(array, shape[0])
            elif name == "pos_embed" and array.shape[2] == shape[2]:
                array = resize_positions(array, shape[1])
            else:
                problems.append(f"{name} is {array.shape}, needed {shape}")
                continue
            outcome.resized.append(note)
        else:
            outcome.loaded.append(name)
        arrays[name] = array.astype(np.float32)
    for name in source:
        if is_pretraining and name.startswith(PRETRAINING_ONLY):
            outcome.unused.append(name)
        else:
            problems.append(f"{name} {source[name].shape} has no place in the network")
    if problems:
        listed = "; ".join(problems[:4]) + ("; ..." if len(problems) > 4 else "")
        raise UserError(
            f"{path} does not fit the network: {len(problems)} tensors differ: {listed}"
        )
    return arrays, outcome


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
    prefix = "model/"
    tensors = load_checkpoint(path).tensors
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _read_mindspore(path: Path) -> Arrays:
    try:
        parameters = load_mindspore(str(path))
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(
            f"{path} cannot be read as a MindSpore checkpoint: {str(error).splitlines()[0]}"
        ) from error
    return {
        re.sub(r"norm(\d?)\.(gamma|beta)$", _norm_name, name): parameter.asnumpy()
        for name, parameter in parameters.items()
    }


def save_weights(arrays: Arrays, path: Path) -> None:
    """A .safetensors file that torch's readers take too."""
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"format": "pt"})
