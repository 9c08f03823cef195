"""Settings of the group `model` that weights bring with them: for `model=auto`."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.config.mapping import load_config, read_mapping
from beit_exp.config.schema import CheckpointKind
from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading
from beit_exp.train.checkpoint import read_shapes, read_state
from beit_exp.weights.architecture import SHARED_TABLE, Shapes, architecture
from beit_exp.weights.names import TABLE, to_ours
from beit_exp.weights.read import read_weights
from beit_exp.weights.source import find_source

HEADS = {768: 12, 1024: 16}  # of the published widths; a table of relative positions tells any


def model_settings(place: str, kind: CheckpointKind) -> dict[str, Any]:
    """What the weights that `model.pretrained` or `checkpoint` names tell of their network.

    A run's, a checkpoint's and an export's tell all of it, a `config.json` of Hugging Face's beside
    a file and the shapes of its tensors the dimensions. `UserError` where there is no such file.
    """
    path = find_source(place, kind).path
    state = read_state(path) if path.suffix == ".safetensors" else None
    if state is not None and "config" in state:
        return dict(state["config"]["model"])
    if is_export(path.parent):
        return load_config(path.parent / "config.yaml").model.model_dump()
    shapes = tensor_shapes(path)
    found = architecture(shapes) | image_size(shapes)
    found |= _described(path.parent / "config.json")
    found.setdefault("pooling", "mean")  # the head that a fine-tuning adds
    if (width := found.get("embed_dim")) in HEADS:
        found.setdefault("num_heads", HEADS[width])
    found["arch"] = "beit_{embed_dim}x{depth}_patch{patch_size}_{image_size}".format_map(
        {"image_size": "any", "patch_size": "any", "embed_dim": "any", **found}
    )
    return found


def are_multi_label(path: Path) -> bool | None:
    """Whether weights were trained with `dataset.multi_label`; None of a file that does not tell.

    A checkpoint of ours tells it, an export's folder, and a `config.json` of Hugging Face's.
    """
    state = read_state(path) if path.suffix == ".safetensors" else None
    if state is not None and "config" in state:
        return bool(state["config"]["dataset"].get("multi_label", False))
    if is_export(path.parent):
        return bool(read_mapping(path.parent / "config.yaml")["dataset"].get("multi_label", False))
    described = path.parent / "config.json"
    if not described.is_file():
        return None
    with reading(described, "is damaged"):
        said = json.loads(described.read_bytes())
    kinds = {"multi_label_classification": True, "single_label_classification": False}
    return kinds.get(str(said.get("problem_type"))) if isinstance(said, dict) else None


def is_export(folder: Path) -> bool:
    """Whether a folder is that of a run that exported a network."""
    try:
        return read_mapping(folder / "config.yaml").get("task") == "export"
    except UserError:  # there is none, or another program's
        return False


def num_classes(place: str, kind: CheckpointKind) -> int | None:
    """The classes of the head in a weights file; None where it has none."""
    shape = tensor_shapes(find_source(place, kind).path).get("head.weight")
    return shape[0] if shape else None


def tensor_shapes(path: Path) -> Shapes:
    """The shapes of a weights file's tensors under our names."""
    status = path.stat()
    return _shapes(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)  # the jobs of a sweep share their weights
def _shapes(path: Path, _changed_ns: int, _size: int) -> Shapes:
    if path.suffix != ".safetensors" or read_state(path) is not None:
        return {name: array.shape for name, array in read_weights(path).items()}
    shapes = read_shapes(path)  # of a foreign file the header says it, however large it is
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    with reading(path):
        return {name: array.shape for name, array in to_ours(arrays).items()}


def image_size(shapes: Shapes) -> dict[str, int]:
    """`image_size` by the number of positions; nothing if no tensor tells it."""
    kernel = shapes.get("patch_embed.proj.weight")
    if kernel is None or len(kernel) != 4:
        return {}
    tables = [SHARED_TABLE, *(name for name in shapes if name.endswith(f".rel_pos.{TABLE}"))]
    table = next((shapes[name] for name in tables if name in shapes), ())
    positions = shapes.get("pos_embed", ())
    if len(positions) == 3:  # (1, tokens, width), the class token among them
        side = math.isqrt(max(0, positions[1] - 1))
    elif len(table) == 2:
        # (2 side - 1)^2 distances, and 3 to the class token
        side = (math.isqrt(max(0, table[0] - 3)) + 1) // 2
    else:
        return {}
    return {"image_size": side * kernel[2]}


def _described(path: Path) -> dict[str, Any]:
    """What a `config.json` says that shapes do not; nothing if it is not there, or another's."""
    if not path.is_file():
        return {}
    with reading(path, "is damaged"):
        said = json.loads(path.read_bytes())
        if not isinstance(said, dict) or said.get("model_type") != "beit":
            return {}
        names = {"num_heads": "num_attention_heads", "image_size": "image_size"}
        found = {ours: said[theirs] for ours, theirs in names.items() if theirs in said}
        if unlike := [name for name, value in found.items() if type(value) is not int]:
            raise UserError(f"{path} is damaged: {names[unlike[0]]} is no whole number")
    return found
