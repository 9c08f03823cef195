"""The teacher of BEiT v2's tokenizer: the network of a run of ours, or a file's: of a BEiT, of DINO
or timm's ViT, or of CLIP.
"""

from __future__ import annotations

import logging
from typing import Any

from mindspore import nn

from beit_exp.config.schema import CheckpointKind, ModelConfig
from beit_exp.config.tokenizing import TokenizerConfig
from beit_exp.errors import UserError
from beit_exp.model.clip import ClipPatches
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import Precision
from beit_exp.model.vqkd import PatchFeatures, Teacher
from beit_exp.train.checkpoint import read_state
from beit_exp.weights.clip import PIXELS, from_clip, is_clip, shape_of_clip
from beit_exp.weights.fit import PRETRAINING_MARKS
from beit_exp.weights.load import set_weights
from beit_exp.weights.model_settings import model_settings
from beit_exp.weights.names import Arrays
from beit_exp.weights.read import check_finite, read_arrays, to_weights
from beit_exp.weights.source import Source, find_source

logger = logging.getLogger(__name__)

HEAD_WIDTH = 64  # of every published vision transformer: DINO, CLIP, timm's and BEiT
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # as DINO sees images
NO_FEATURE = (*PRETRAINING_MARKS, "cls_pt_", "head.")
FINAL_NORMS = ("norm.", "fc_norm.")
INITIAL = {"head_init_scale": 1.0, "drop_path_rate": 0.0, "pretrained": None}  # of no weights here
OF_CLIP = {
    "rel_pos_bias": False,
    "shared_rel_pos_bias": False,
    "abs_pos_emb": True,
    "layer_scale_init_value": None,
    "pooling": "cls",
}


def load_teacher(
    cfg: TokenizerConfig,
    model: ModelConfig,
    *,
    precision: Precision,
    kind: CheckpointKind = "best",
) -> Teacher:
    """The network at `cfg.teacher`, frozen, for images and patches of the sizes of `model`.

    Unless the settings say how it sees pixels, that is as its run did, as CLIP does, and any other
    file's as DINO does. `UserError` if it has no final norm, or other patches.
    """
    source = find_source(str(cfg.teacher), kind)
    arrays = read_arrays(source.path, is_averaged=source.is_averaged)
    operations = Operations(precision)
    if is_clip(arrays):
        features, seen = from_clip(arrays), PIXELS
        check_finite(features, source.path)
        shape = fitted({**OF_CLIP, **shape_of_clip(features)}, model, source)
        width = len(features["projection.weight"])
        network: nn.Cell = ClipPatches(shape, operations, feature_width=width)
    else:
        features, seen = of_patches(to_weights(arrays, source.path), source), _normalisation(source)
        # Whichever weights of a run: they have one shape
        shape = fitted(model_settings(str(source.path), "last"), model, source)
        width, network = shape.embed_dim, PatchFeatures(shape, operations)
    mean, std = cfg.teacher_mean or seen["mean"], cfg.teacher_std or seen["std"]
    set_weights(network, features, path=source.path)
    teacher = Teacher(network, width=width, mean=mean, std=std)
    for parameter in teacher.get_parameters():
        parameter.requires_grad = False
    teacher.set_train(False)
    logger.info("teacher: %s, which sees mean %s and std %s; %s", shape.arch, mean, std, source)
    return teacher


def of_patches(arrays: Arrays, source: Source) -> Arrays:
    """What makes the features of patches, under the names of `PatchFeatures`."""
    kept = {name: each for name, each in arrays.items() if not name.startswith(NO_FEATURE)}
    norms = [norm for norm in FINAL_NORMS if f"{norm}weight" in kept]
    if len(norms) != 1:
        raise UserError(f"{source.path} cannot teach: it has {len(norms)} final norms, not one")
    return {
        f"fc_norm.{name.removeprefix(norms[0])}" if name.startswith(norms[0]) else name: each
        for name, each in kept.items()
    }


def fitted(found: dict[str, Any], model: ModelConfig, source: Source) -> ModelConfig:
    """The teacher's shape by what its weights tell, for images of the size of `model`'s."""
    if found.get("patch_size") != model.patch_size:
        raise UserError(
            f"{source.path} cannot teach: its patches are {found.get('patch_size')} pixels wide, "
            f"those of the tokenizer (model.patch_size) {model.patch_size}"
        )
    if "num_heads" not in found:
        found["num_heads"] = max(1, found["embed_dim"] // HEAD_WIDTH)
    return ModelConfig(**{**INITIAL, **found, "image_size": model.image_size})


def _normalisation(source: Source) -> dict[str, Any]:
    """Mean and standard deviation of the images that the weights were trained on."""
    state = read_state(source.path) if source.path.suffix == ".safetensors" else None
    return dict(state["config"]["dataset"]) if state and "config" in state else IMAGENET
