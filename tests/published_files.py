"""Weights files as unilm publishes them, of any size: the names and shapes of their tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from beit_exp.config.schema import ModelConfig

Shapes = dict[str, tuple[int, ...]]
TABLE = "relative_position_bias_table"
HEAD_LAYERS = 2  # beit2/PRETRAINING.md, --head_layers


def block_shapes(cfg: ModelConfig) -> Shapes:
    """Of a block, without its number."""
    width, hidden = cfg.embed_dim, int(cfg.mlp_ratio * cfg.embed_dim)
    shapes: Shapes = {
        **{
            f"{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")
        },
        "attn.qkv.weight": (3 * width, width),
        "attn.q_bias": (width,),
        "attn.v_bias": (width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc2.bias": (width,),
    }
    if cfg.layer_scale_init_value is not None:
        shapes |= {"gamma_1": (width,), "gamma_2": (width,)}
    if cfg.rel_pos_bias:
        shapes[f"attn.{TABLE}"] = table_shape(cfg)
    return shapes


def table_shape(cfg: ModelConfig) -> tuple[int, int]:
    side = cfg.image_size // cfg.patch_size
    return (2 * side - 1) ** 2 + 3, cfg.num_heads


def published_shapes(cfg: ModelConfig, *, classes: int | None) -> Shapes:
    """Of a network for classification, or without a head."""
    width, side = cfg.embed_dim, cfg.image_size // cfg.patch_size
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "patch_embed.proj.weight": (width, 3, cfg.patch_size, cfg.patch_size),
        "patch_embed.proj.bias": (width,),
        **numbered("blocks", cfg.depth, block_shapes(cfg)),
    }
    if cfg.shared_rel_pos_bias:
        shapes[f"rel_pos_bias.{TABLE}"] = table_shape(cfg)
    if cfg.abs_pos_emb:
        shapes["pos_embed"] = (1, side * side + 1, width)
    if classes is not None:
        norm = "fc_norm" if cfg.pooling == "mean" else "norm"
        shapes |= {f"{norm}.weight": (width,), "head.weight": (classes, width)}
    return shapes


def numbered(name: str, count: int, shapes: Shapes) -> Shapes:
    return {
        f"{name}.{number}.{part}": shape
        for number in range(count)
        for part, shape in shapes.items()
    }


def masked_shapes(cfg: ModelConfig, *, vocabulary: int) -> Shapes:
    """Of beit/modeling_pretrain.py, `VisionTransformerForMaskedImageModeling`."""
    width = cfg.embed_dim
    shapes = published_shapes(cfg, classes=None) | {
        "mask_token": (1, 1, width),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "lm_head.weight": (vocabulary, width),
        "lm_head.bias": (vocabulary,),
    }
    if cfg.shared_rel_pos_bias:
        tokens = (cfg.image_size // cfg.patch_size) ** 2 + 1
        shapes["rel_pos_bias.relative_position_index"] = (tokens, tokens)
    return shapes


def class_token_shapes(cfg: ModelConfig, *, vocabulary: int, shared_lm_head: bool) -> Shapes:
    """Of beit2/modeling_pretrain.py, `VisionTransformerForMaskedImageModelingCLS`: the blocks that
    predict from the class token, and a norm and a head of theirs unless they share the others.
    """
    shapes = numbered("cls_pt_layers", HEAD_LAYERS, block_shapes(cfg))
    if not shared_lm_head:
        width = cfg.embed_dim
        shapes |= {
            "cls_pt_norm.weight": (width,),
            "cls_pt_norm.bias": (width,),
            "cls_pt_lm_head.weight": (vocabulary, width),
            "cls_pt_lm_head.bias": (vocabulary,),
        }
    return shapes


def write_random(path: Path, shapes: Shapes) -> str:
    """A .safetensors file with a value of its own for every element."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    save_file(arrays, path)
    return str(path)


def write_empty(path: Path, shapes: Shapes) -> str:
    """A .safetensors file of zeros that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return str(path)
