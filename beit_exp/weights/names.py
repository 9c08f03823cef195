"""Names of parameters: ours, the official ones, Hugging Face's and MindSpore's."""

from __future__ import annotations

import re

import numpy as np

from beit_exp.weights.hugging_face import from_hugging_face_name, to_hugging_face_name

Arrays = dict[str, np.ndarray]
TABLE = "relative_position_bias_table"


def to_ours(arrays: Arrays) -> Arrays:
    """Official, timm or Hugging Face tensors under our names, joint qkv weights split."""
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


def from_mindspore_name(name: str) -> str:
    """Of a parameter in a .ckpt of MindSpore's, whose norms have `gamma` and `beta`."""
    name = re.sub(r"(norm\d?)\.gamma$", r"\1.weight", name)
    return re.sub(r"(norm\d?)\.beta$", r"\1.bias", name)
