"""BEiT as Hugging Face's transformers keep it: the names of its tensors, and the files of a model's
folder.

Sources: transformers, modeling_beit.py, configuration_beit.py and convert_beit_unilm_to_pytorch.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from beit_exp.config.schema import DatasetConfig, ModelConfig
from beit_exp.model.operations.gradients import LAYER_NORM_EPS

MODEL = "beit."  # before every name but the classifier's
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


def to_hugging_face_name(name: str) -> str:
    """Of a parameter of ours."""
    if block := re.match(r"blocks\.(\d+)\.(.+)", name):
        return f"{MODEL}encoder.layer.{block[1]}.{_swap(block[2], INSIDE)}"
    found = _swap(name, OUTSIDE)
    return found if found.startswith("classifier.") else MODEL + found


def from_hugging_face_name(name: str) -> str:
    """Ours, of a tensor of theirs."""
    name = name.removeprefix(MODEL)
    if block := re.match(r"encoder\.layer\.(\d+)\.(.+)", name):
        return f"blocks.{block[1]}.{_swap(block[2], _turned(INSIDE))}"
    return _swap(name, _turned(OUTSIDE))


def model_config(model: ModelConfig, classes: Sequence[str]) -> dict[str, Any]:
    """config.json of a BeitForImageClassification."""
    return {
        "architectures": ["BeitForImageClassification"],
        "model_type": "beit",
        "image_size": model.image_size,
        "patch_size": model.patch_size,
        "num_channels": 3,
        "hidden_size": model.embed_dim,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.num_heads,
        "intermediate_size": int(model.embed_dim * model.mlp_ratio),
        "hidden_act": "gelu",
        "layer_norm_eps": LAYER_NORM_EPS,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": model.drop_path_rate,
        "layer_scale_init_value": model.layer_scale_init_value or 0.0,
        "use_mask_token": False,
        "use_absolute_position_embeddings": model.abs_pos_emb,
        "use_relative_position_bias": model.rel_pos_bias,
        "use_shared_relative_position_bias": model.shared_rel_pos_bias,
        "use_mean_pooling": model.pooling == "mean",
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def preprocessor_config(dataset: DatasetConfig, *, image_size: int) -> dict[str, Any]:
    """preprocessor_config.json: short side, centre crop and normalisation, which CLIP's processor
    does as BEiT was.
    """
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": int(image_size / dataset.crop_pct)},
        "resample": int(Image.Resampling[dataset.interpolation.upper()]),
        "do_center_crop": True,
        "crop_size": {"height": image_size, "width": image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": dataset.mean,
        "image_std": dataset.std,
    }


def _turned(pairs: dict[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in pairs.items()}


def _swap(name: str, beginnings: dict[str, str]) -> str:
    for beginning, other in beginnings.items():
        if name == beginning or name.startswith(f"{beginning}."):
            return other + name.removeprefix(beginning)
    return name
