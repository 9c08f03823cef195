"""A fine-tuned BEiT as a model's folder of Hugging Face's transformers.

Source: transformers, configuration_beit.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from beit_exp.config.schema import DatasetConfig, ModelConfig
from beit_exp.model.operations.gradients import LAYER_NORM_EPS
from beit_exp.storage.files import write_atomically
from beit_exp.weights.names import Arrays, to_hugging_face
from beit_exp.weights.read import save_weights
from beit_exp.weights.source import HUGGING_FACE_FILE


def write_folder(
    folder: Path,
    arrays: Arrays,
    *,
    model: ModelConfig,
    dataset: DatasetConfig,
    classes: Sequence[str],
) -> None:
    """What `AutoModelForImageClassification` and `AutoImageProcessor` load.

    `model.safetensors` of our `arrays`, `config.json` and `preprocessor_config.json`.
    """
    described = {
        "config.json": model_config(model, classes, multi_label=dataset.multi_label),
        "preprocessor_config.json": preprocessor_config(dataset, image_size=model.image_size),
    }
    for name, content in described.items():
        write_atomically(folder / name, json.dumps(content, indent=1).encode())
    save_weights(to_hugging_face(arrays), folder / HUGGING_FACE_FILE)


def model_config(
    model: ModelConfig, classes: Sequence[str], *, multi_label: bool
) -> dict[str, Any]:
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
        "problem_type": f"{'multi' if multi_label else 'single'}_label_classification",
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def preprocessor_config(dataset: DatasetConfig, *, image_size: int) -> dict[str, Any]:
    """preprocessor_config.json: resize the short side, crop the centre, normalise.

    CLIP's processor does these as BEiT was fine-tuned.
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
