"""The weights of a visual tokenizer: a run's of task=train_tokenizer, or DALL-E's state dict."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from mindspore import Tensor

from beit_exp.config.schema import CheckpointKind, TokenizerConfig
from beit_exp.errors import UserError
from beit_exp.model.visual_tokenizer import VisualTokenizer, build_tokenizer, our_name
from beit_exp.weights.read import read_checkpoint
from beit_exp.weights.source import find_source
from beit_exp.weights.torch_file import read_torch_file

logger = logging.getLogger(__name__)
PARTS = ("encoder.", "decoder.")


def load_tokenizer(
    cfg: TokenizerConfig, place: str, *, kind: CheckpointKind = "best"
) -> VisualTokenizer:
    """The tokenizer of `cfg` with the weights at `place`, frozen.

    Its `decoder` is None if the weights have none; `UserError` names the settings that differ.
    """
    source = find_source(place, kind)
    path = source.path
    arrays = read_tokenizer(path, is_averaged=source.is_averaged)
    network = build_tokenizer(
        cfg, has_decoder=any(name.startswith("decoder.") for name in arrays), seed=0
    )
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    found = {name: array.shape for name, array in arrays.items()}
    if shapes != found:
        unlike = sorted(
            name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)
        )
        raise UserError(
            f"{path} does not fit the tokenizer: {len(unlike)} tensors differ, such as "
            f"{unlike[0]} (there {found.get(unlike[0])}, needed {shapes.get(unlike[0])}); "
            "tokenizer.vocabulary, hidden, blocks_per_group and decoder_input must be those that "
            "it was trained with"
        )
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name]))
        parameter.requires_grad = False
    network.set_train(False)
    what = "encoder and decoder" if network.decoder is not None else "encoder"
    place = f"{path}: {source.why}" if source.why else str(path)
    logger.info("visual tokenizer: %s of %s, %d tokens", what, place, cfg.vocabulary)
    return network


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
