"""Weights of any origin into our network: official .pth, timm or Hugging Face .safetensors, MindSpore .ckpt, ours.

    python -m beit_exp.weights IN OUT [--to ours|official|huggingface]      converts a file

Files are brought to our parameter names first, then fitted to the network: tables and position embeddings resized,
a shared table copied to every block, a foreign head left out. Whatever does not fit is an error, never a silence.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor, nn
from mindspore import load_checkpoint as load_mindspore
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from scipy.interpolate import RectBivariateSpline

from beit_exp.config import UserError
from beit_exp.files import replacing
from beit_exp.hugging_face import from_hugging_face_name, to_hugging_face_name
from beit_exp.torch_file import read_torch_file
from beit_exp.train.checkpoint import FORMAT, find_checkpoint, load_checkpoint

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
TABLE = "relative_position_bias_table"
CLASS_ROWS = 3  # the last rows of a table belong to the class token
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
            shown = ", ".join(names[:16]) + (", ..." if len(names) > 16 else "") if what != "loaded" else ""
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
        raise UserError(f"{path}: weights are read from .pth, .pt, .bin, .safetensors and .ckpt files alone")
    ours = to_ours(arrays)
    if not any(name.startswith("blocks.") for name in ours):
        raise UserError(f"{path} holds no weights of a BEiT: none of its {len(arrays)} tensors belongs to a block")
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in ours.items()}


def to_ours(arrays: Arrays) -> Arrays:
    """Rename official, timm or Hugging Face tensors to ours, and split their joint query-key-value weight."""
    ours: Arrays = {}
    is_hugging_face = any(".attention.attention." in name for name in arrays)
    for name, array in arrays.items():
        if is_hugging_face:
            name = from_hugging_face_name(name)
        if name.endswith(("relative_position_index", ".k_bias")):
            continue  # a constant that we compute; a bias that is always zero
        if name.endswith("attn.qkv.weight"):
            for letter, part in zip("qkv", np.split(array, 3), strict=True):
                ours[name.replace("qkv", letter)] = part
            continue
        name = re.sub(r"attn\.([qv])_bias$", r"attn.\1.bias", name)
        ours[name.replace(f".attn.{TABLE}", f".rel_pos.{TABLE}")] = array
    return ours


def to_official(arrays: Arrays) -> Arrays:
    """Our tensors under the names of unilm/beit, which are timm's too."""
    official: Arrays = {}
    for name, array in arrays.items():
        if name.endswith((".attn.k.weight", ".attn.v.weight")):
            continue
        if name.endswith(".attn.q.weight"):
            parts = [arrays[name.replace(".q.", f".{letter}.")] for letter in "qkv"]
            official[name.replace(".q.", ".qkv.")] = np.concatenate(parts)
            continue
        name = re.sub(r"attn\.([qv])\.bias$", r"attn.\1_bias", name)
        official[name.replace(f".rel_pos.{TABLE}", f".attn.{TABLE}")] = array
    return official


def to_hugging_face(arrays: Arrays) -> Arrays:
    """Our tensors under the names of transformers."""
    return {to_hugging_face_name(name): array for name, array in arrays.items()}


def fit_to(
    shapes: dict[str, tuple[int, ...]], source: Arrays, *, path: Path, may_be_new: tuple[str, ...]
) -> tuple[Arrays, Outcome]:
    """Arrays for a network's parameters, and what was done; `UserError` if a parameter would stay unset."""
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
            # A head or a final norm may be missing from self-supervised weights alone, which have neither.
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
            if name.endswith(TABLE) and array.shape[1] == shape[1] and _is_table(array) and _is_table(np.empty(shape)):
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
        raise UserError(f"{path} does not fit the network: {len(problems)} tensors differ: {listed}")
    return arrays, outcome


def resize_table(table: np.ndarray, rows: int) -> np.ndarray:
    """Carry a (n, H) relative position table to another grid; its last three rows, the class token's, stay.

    Distances between patches are laid out in a geometric progression, dense in the middle, so that the middle
    of the table is kept and its rim stretched; a cubic spline reads off the new distances.
    Source: unilm/beit run_class_finetuning.py.
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
    """Carry a (1, N, D) position embedding to another grid by bicubic interpolation; the class token's stays."""
    old, new = round((positions.shape[1] - 1) ** 0.5), round((tokens - 1) ** 0.5)
    weights = _bicubic(old, new)
    grid = positions[0, 1:].reshape(old, old, -1)
    resized = np.einsum("ai,bj,ijd->abd", weights, weights, grid).reshape(1, new * new, -1)
    return np.concatenate([positions[:, :1], resized], axis=1).astype(np.float32)


def _bicubic(old: int, new: int) -> np.ndarray:
    """(new, old) interpolation weights as in torch's bicubic with align_corners=False: Keys' kernel, a = -0.75."""
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


def _is_table(table: np.ndarray) -> bool:
    side = round((len(table) - CLASS_ROWS) ** 0.5)
    return side * side + CLASS_ROWS == len(table) and side % 2 == 1


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
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _read_mindspore(path: Path) -> Arrays:
    try:
        parameters = load_mindspore(str(path))
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as a MindSpore checkpoint: {str(error).splitlines()[0]}") from error
    return {
        re.sub(r"norm(\d?)\.(gamma|beta)$", _norm_name, name): parameter.asnumpy()
        for name, parameter in parameters.items()
    }


def _norm_name(match: Any) -> str:
    return f"norm{match[1]}.{'weight' if match[2] == 'gamma' else 'bias'}"


def convert(source: Path, target: Path, *, to: str) -> None:
    """Write the weights of any readable file as .safetensors under our names, the official or Hugging Face's."""
    if target.suffix != ".safetensors":
        raise UserError(f"{target}: the output is a .safetensors file")
    arrays = read_weights(source)
    named = {"ours": arrays, "official": to_official(arrays), "huggingface": to_hugging_face(arrays)}[to]
    save_weights(named, target)
    print(f"{target}: {len(arrays)} parameters under {to} names")


def save_weights(arrays: Arrays, path: Path) -> None:
    """A .safetensors file that torch's readers take too."""
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"format": "pt"})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m beit_exp.weights", description="Convert BEiT weights.")
    parser.add_argument("source", type=Path, metavar="IN", help=".pth, .safetensors, .ckpt, or a run directory")
    parser.add_argument("target", type=Path, metavar="OUT", help="a .safetensors file")
    parser.add_argument(
        "--to", choices=("ours", "official", "huggingface"), default="ours", help="whose parameter names"
    )
    options = parser.parse_args(arguments)
    try:
        convert(find_checkpoint(str(options.source)), options.target, to=options.to)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
