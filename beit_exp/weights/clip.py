"""CLIP's vision transformer: its tensors' names, ours for them, and what their shapes tell.

Source: openai/CLIP, clip/model.py.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from beit_exp.weights.names import Arrays

VISUAL = "visual."  # before every name; beside it there are the texts' tensors
PIXELS = {  # clip/clip.py, `_transform`
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
INSIDE = {  # a block: theirs, ours
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def is_clip(arrays: Arrays) -> bool:
    """Whether tensors are those of CLIP with a vision transformer."""
    return {"visual.class_embedding", "visual.proj"} <= arrays.keys()


def from_clip(arrays: Arrays) -> Arrays:
    """The vision transformer's float32 tensors under the names of `ClipPatches`."""
    ours: Arrays = {}
    for name, array in arrays.items():
        if name.startswith(VISUAL):
            ours |= _parts(name.removeprefix(VISUAL), array)
    ours["patch_embed.proj.bias"] = np.zeros(len(ours["patch_embed.proj.weight"]))
    return {name: np.ascontiguousarray(array, np.float32) for name, array in ours.items()}


def shape_of_clip(ours: Arrays) -> dict[str, Any]:
    """Settings of the group `model` that they tell."""
    width, _, patch_size, _ = ours["patch_embed.proj.weight"].shape
    depth = len({name.split(".")[1] for name in ours if name.startswith("blocks.")})
    return {
        "arch": f"CLIP {width}x{depth}",
        "embed_dim": width,
        "depth": depth,
        "patch_size": patch_size,
        "mlp_ratio": len(ours["blocks.0.mlp.fc1.weight"]) / width,
    }


def _parts(name: str, array: np.ndarray) -> Arrays:
    """A tensor under our names; of three joint ones each."""
    block = re.match(r"transformer\.resblocks\.(\d+)\.(.+)", name)
    if block is None:
        match name:
            case "class_embedding":
                return {"cls_token": array.reshape(1, 1, -1)}
            case "positional_embedding":
                return {"pos_embed": array[None]}
            case "proj":
                return {"projection.weight": array.T}
        outside = {"conv1": "patch_embed.proj", "ln_pre": "norm_pre", "ln_post": "fc_norm"}
        first, _, rest = name.partition(".")
        return {f"{outside[first]}.{rest}": array}
    prefix, inner = f"blocks.{block[1]}.", block[2]
    if inner == "attn.in_proj_weight":
        parts = zip("qkv", np.split(array, 3), strict=True)
        return {f"{prefix}attn.{letter}.weight": part for letter, part in parts}
    if inner == "attn.in_proj_bias":  # a key's takes part in no softmax: `names.to_ours`
        query, _, value = np.split(array, 3)
        return {f"{prefix}attn.q.bias": query, f"{prefix}attn.v.bias": value}
    first, _, last = inner.rpartition(".")
    return {f"{prefix}{INSIDE[first]}.{last}": array}
