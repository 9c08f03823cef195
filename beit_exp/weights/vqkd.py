"""Names of tensors of BEiT v2's tokenizer: ours, and those of unilm/beit2 modeling_vqkd.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading
from beit_exp.train.checkpoint import read_state
from beit_exp.weights.names import Arrays, to_ours
from beit_exp.weights.read import read_checkpoint
from beit_exp.weights.torch_file import read_torch_file

TRANSFORMERS = ("encoder.", "decoder.")
CODEBOOK = {
    "quantize.embedding.weight": "quantize.codes",
    "quantize.cluster_size": "quantize.usage",
}
# Averages that the original never reads, and the teacher that it was trained by
UNUSED = ("quantize.embedding.", "teacher_model.", "scaling_layer.", "loss")
OF_TRAINING = ("decoder.", "decode_task_layer.")


def read_vqkd(path: Path, *, is_averaged: bool = False) -> Arrays:
    """Float32 arrays under our names, of a checkpoint of ours or an official state dict.

    `UserError` if they are no such tokenizer's.
    """
    if path.suffix == ".safetensors" and read_state(path) is not None:
        arrays = read_checkpoint(path, is_averaged=is_averaged)
    elif path.suffix == ".safetensors":
        with reading(path):
            arrays = from_official(load_file(path))
    elif path.suffix in (".pth", ".pt"):
        with reading(path):
            arrays = from_official(read_torch_file(path))
    else:
        raise UserError(
            f"{path}: a tokenizer is read from a run of task=train_tokenizer or from an official "
            "state dict, .pth or .safetensors"
        )
    if "quantize.codes" not in arrays or "encode_task_layer.0.weight" not in arrays:
        raise UserError(
            f"{path} holds no tokenizer of BEiT v2 (tokenizer.kind=vqkd): none of its "
            f"{len(arrays)} tensors is a codebook"
        )
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def from_official(arrays: Arrays) -> Arrays:
    """Official tensors under our names; what the original does not use itself has none."""
    ours: Arrays = {}
    for prefix in TRANSFORMERS:
        part = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        ours |= {prefix + name: array for name, array in to_ours(part).items()}
    for name, array in arrays.items():
        if name in CODEBOOK:
            ours[CODEBOOK[name]] = array
        elif not name.startswith((*TRANSFORMERS, *UNUSED)):
            ours[name] = array
    return ours
