"""The weights of a visual tokenizer: a run's of task=train_tokenizer, or an official state dict."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from mindspore import Tensor
from typing_extensions import assert_never

from beit_exp.config.schema import CheckpointKind, ModelConfig
from beit_exp.config.tokenizing import TokenizerConfig
from beit_exp.errors import UserError
from beit_exp.model.precision import Precision
from beit_exp.model.visual_tokenizer import VisualTokenizer, build_tokenizer, our_name
from beit_exp.model.vqkd import VqkdTokenizer
from beit_exp.weights.names import Arrays
from beit_exp.weights.read import read_checkpoint
from beit_exp.weights.source import Source, find_source
from beit_exp.weights.torch_file import read_torch_file
from beit_exp.weights.vqkd import OF_TRAINING, read_vqkd

logger = logging.getLogger(__name__)
PARTS = ("encoder.", "decoder.")
SHAPE = {  # settings that a tokenizer's tensors have their shapes by
    "dvae": "tokenizer.vocabulary, hidden, blocks_per_group and decoder_input",
    "vqkd": "tokenizer.vocabulary, embed_dim, depth, code_width, model.image_size and patch_size",
}


def load_tokenizer(
    cfg: TokenizerConfig,
    model: ModelConfig,
    place: str,
    *,
    precision: Precision,
    kind: CheckpointKind = "best",
) -> VisualTokenizer | VqkdTokenizer:
    """The tokenizer of `cfg` with the weights at `place`, frozen, for the images of `model`.

    Its `decoder` is None if the weights have none, and for `tokenizer.kind=vqkd`, whose tokens it
    does not make. `UserError` names the settings that differ.
    """
    source = find_source(place, kind)
    network, arrays = _read(cfg, model, source, precision)
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    found = {name: array.shape for name, array in arrays.items()}
    if shapes != found:
        unlike = sorted(
            name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)
        )
        raise UserError(
            f"{source.path} does not fit the tokenizer: {len(unlike)} tensors differ, such as "
            f"{unlike[0]} (there {found.get(unlike[0])}, needed {shapes.get(unlike[0])}); "
            f"{SHAPE[cfg.kind]} must be those that it was trained with"
        )
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name]))
        parameter.requires_grad = False
    network.set_train(False)
    what = "encoder and decoder" if network.decoder is not None else "encoder"
    logger.info("visual tokenizer: %s of %s, %d tokens", what, source, cfg.vocabulary)
    return network


def _read(
    cfg: TokenizerConfig, model: ModelConfig, source: Source, precision: Precision
) -> tuple[VisualTokenizer | VqkdTokenizer, Arrays]:
    """A network, and the arrays to be set into it."""
    match cfg.kind:
        case "dvae":
            arrays = read_tokenizer(source.path, is_averaged=source.is_averaged)
            has_decoder = any(name.startswith("decoder.") for name in arrays)
            return build_tokenizer(cfg, has_decoder=has_decoder, seed=0), arrays
        case "vqkd":
            found = read_vqkd(source.path, is_averaged=source.is_averaged)
            network = VqkdTokenizer(
                cfg,
                image_size=model.image_size,
                patch_size=model.patch_size,
                feature_width=None,
                precision=precision,
            )
            kept = {name: each for name, each in found.items() if not name.startswith(OF_TRAINING)}
            return network, kept
        case _:
            assert_never(cfg.kind)


def read_tokenizer(path: Path, *, is_averaged: bool = False) -> dict[str, np.ndarray]:
    """Float32 arrays under our names, which begin with `encoder.` or `decoder.`.

    Tensors of a state dict without either are an encoder's. `UserError` if there is no encoder.
    """
    if path.suffix == ".safetensors":
        arrays = read_checkpoint(path, is_averaged=is_averaged)
    elif path.suffix in (".pth", ".pt"):
        arrays = {}
        for name, array in read_torch_file(path).items():
            part = name[: len(PARTS[0])] if name.startswith(PARTS) else ""
            arrays[(part or PARTS[0]) + our_name(name.removeprefix(part))] = array
    else:
        raise UserError(
            f"{path}: a tokenizer is read from a run of task=train_tokenizer or a .pth state dict"
        )
    if not any(name.startswith("encoder.groups.") for name in arrays):
        raise UserError(
            f"{path} holds no visual tokenizer: none of its {len(arrays)} tensors is of an "
            "encoder's block"
        )
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
