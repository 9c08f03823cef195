"""Names of parameters: ours, the official ones, Hugging Face's and MindSpore's.

Sources: unilm/beit modeling_finetune.py; transformers, modeling_beit.py and
convert_beit_unilm_to_pytorch.py.
"""

from __future__ import annotations

import re

import numpy as np

Arrays = dict[str, np.ndarray]
TABLE = "relative_position_bias_table"
HUGGING_FACE = "beit."  # before every name but the classifier's
OUTSIDE = {  # beginnings of names outside the blocks: ours, theirs
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "rel_pos_bias": "encoder.relative_position_bias",
    "fc_norm": "pooler.layernorm",
    "norm": "layernorm",
    "head": "classifier",
}
INSIDE = {  # and in a block
    "norm1": "layernorm_before",
    "attn.q": "attention.attention.query",
    "attn.k": "attention.attention.key",
    "attn.v": "attention.attention.value",
    "rel_pos": "attention.attention.relative_position_bias",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "gamma_1": "lambda_1",
    "gamma_2": "lambda_2",
}


def to_ours(arrays: Arrays) -> Arrays:
    """Official, timm or Hugging Face tensors under our names, joint qkv weights split.

    `ValueError` where they say two things of one parameter, or what the network cannot hold.
    """
    ours: Arrays = {}
    is_hugging_face = any(".attention.attention." in name for name in arrays)
    for name, array in arrays.items():
        if is_hugging_face:
            name = from_hugging_face_name(name)
        for own, part in _parts(name, array):
            if own in ours:
                raise ValueError(f"{own} is there twice, under two names")
            ours[own] = part
    return ours


def _parts(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """A tensor under our names: none for a constant, three for a joint product."""
    if name.endswith("relative_position_index"):
        return []  # we compute it
    if name.endswith(".k_bias"):
        if np.any(array):
            raise ValueError(f"{name} is not zero: a key has no bias in BEiT")
        return []
    if name.endswith("attn.qkv.weight"):
        if array.ndim == 0 or len(array) % 3:
            raise ValueError(f"{name} is {array.shape}: not three matrices in one")
        parts = zip("qkv", np.split(array, 3), strict=True)
        return [(name.replace("qkv", letter), part) for letter, part in parts]
    if name.endswith("attn.qkv.bias"):  # of a vision transformer that is no BEiT
        # A key's bias adds the same to all scores of a query, and softmax takes it away again
        query, _, value = np.split(array, 3)
        return [(name.replace("qkv", "q"), query), (name.replace("qkv", "v"), value)]
    name = re.sub(r"attn\.([qv])_bias$", r"attn.\1.bias", name)
    return [(name.replace(f".attn.{TABLE}", f".rel_pos.{TABLE}"), array)]


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


def to_hugging_face_name(name: str) -> str:
    """Of a parameter of ours."""
    if block := re.match(r"blocks\.(\d+)\.(.+)", name):
        return f"{HUGGING_FACE}encoder.layer.{block[1]}.{_swap(block[2], INSIDE)}"
    found = _swap(name, OUTSIDE)
    return found if found.startswith("classifier.") else HUGGING_FACE + found


def from_hugging_face_name(name: str) -> str:
    """Ours, of a tensor of theirs."""
    name = name.removeprefix(HUGGING_FACE)
    if block := re.match(r"encoder\.layer\.(\d+)\.(.+)", name):
        return f"blocks.{block[1]}.{_swap(block[2], _turned(INSIDE))}"
    return _swap(name, _turned(OUTSIDE))


def _turned(pairs: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in pairs.items()}


def _swap(name: str, beginnings: dict[str, str]) -> str:
    for beginning, other in beginnings.items():
        if name == beginning or name.startswith(f"{beginning}."):
            return other + name.removeprefix(beginning)
    return name
