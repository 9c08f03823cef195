"""A tokenizer for a dry run of a pre-training whose own is not there, and a teacher for one of a
tokenizer's training: random weights, the same graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import assert_never

from beit_exp.config.schema import Config
from beit_exp.launch.tokenizer_first import trains_tokenizer_first
from beit_exp.storage.remote import is_remote


def lacks_tokenizer(cfg: Config) -> bool:
    """Whether the weights that the settings name are not on this machine."""
    return cfg.task == "pretrain" and is_missing(cfg.tokenizer.weights)


def lacks_teacher(cfg: Config) -> bool:
    """Whether a tokenizer is to be trained by weights that are not on this machine."""
    is_trained = cfg.task == "train_tokenizer" or trains_tokenizer_first(cfg)
    return is_trained and is_missing(cfg.tokenizer.teacher)


def is_missing(place: str | None) -> bool:
    return place is not None and not is_remote(place) and not Path(place).exists()


def make_tokenizer(cfg: Config, path: Path) -> None:
    """Write an encoder of the settings' shape, with random weights."""
    save(build_encoder(cfg), path)


def make_teacher(cfg: Config, path: Path) -> None:
    """Write a transformer of the encoder's shape, with zeros for weights."""
    from beit_exp.model.operations.choice import Operations
    from beit_exp.model.precision import build_precision
    from beit_exp.model.vqkd import PatchFeatures, transformer

    size = {"image_size": cfg.model.image_size, "patch_size": cfg.model.patch_size}
    shape = transformer(cfg.tokenizer, depth=cfg.tokenizer.depth, **size)
    save(PatchFeatures(shape, Operations(build_precision("O0", half=None))), path)


def save(network: Any, path: Path) -> None:
    from beit_exp.train.checkpoint import save_checkpoint
    from beit_exp.weights.read import PREFIX

    tensors = {PREFIX + parameter.name: parameter for parameter in network.get_parameters()}
    save_checkpoint(path, tensors, {})


def build_encoder(cfg: Config) -> Any:
    """What makes tokens, without what its training needs."""
    from beit_exp.model.precision import build_precision
    from beit_exp.model.visual_tokenizer import build_tokenizer
    from beit_exp.model.vqkd import build_vqkd

    match cfg.tokenizer.kind:
        case "dvae":
            return build_tokenizer(cfg.tokenizer, has_decoder=False, seed=cfg.seed)
        case "vqkd":
            precision = build_precision("O0", half=None)
            return build_vqkd(cfg, feature_width=None, precision=precision)
        case _:
            assert_never(cfg.tokenizer.kind)
