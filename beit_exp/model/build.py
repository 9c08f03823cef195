"""From settings to a network with initial weights."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn
from scipy.special import ndtr, ndtri

from beit_exp.config.schema import MaskConfig, ModelConfig
from beit_exp.model.beit import Backbone, BEiT, MaskedBEiT, extra_blocks
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import Precision
from beit_exp.randomness import Stream, generator

INIT_STD = 0.02
EXTRA_BLOCKS = "cls_pt_layers."


def build_model(
    cfg: ModelConfig, *, num_classes: int, precision: Precision, seed: int, portable: bool = False
) -> BEiT:
    """The network of `cfg`, initialised from `seed`; `portable`: to be exported (`Operations`)."""
    network = BEiT(cfg, num_classes=num_classes, precision=precision, portable=portable)
    initialise(network, seed=seed, head_init_scale=cfg.head_init_scale)
    return network


def build_backbone(cfg: ModelConfig, *, precision: Precision) -> Backbone:
    """The blocks of `cfg` and what stands before them, for weights that are there."""
    return Backbone(cfg, Operations(precision))


def build_masked_model(
    cfg: ModelConfig, mask: MaskConfig, *, vocabulary: int, precision: Precision, seed: int
) -> MaskedBEiT:
    """The network of `cfg` for pre-training, initialised from `seed`.

    Truncated at ±0.02, the patch projection too; blocks beside the network's keep the uniform
    ±1/√fan_in of PyTorch's linear layers, since the official initialiser runs before they are
    there. Sources: unilm/beit modeling_pretrain.py; unilm/beit2 modeling_pretrain.py, lines 272,
    281 and 289.
    """
    network = MaskedBEiT(cfg, mask, vocabulary=vocabulary, precision=precision)
    low, high = ndtr(-1.0), ndtr(1.0)
    shapes = {parameter.name: parameter.shape for parameter in network.get_parameters()}
    extra = extra_blocks(mask)
    for number, parameter in enumerate(network.get_parameters()):
        name, shape = parameter.name, parameter.shape
        rng = generator(seed, Stream.weights, number)
        if name.startswith(EXTRA_BLOCKS):
            if not is_of_dense(name):
                continue
            bound = shapes[name.replace(".bias", ".weight")][1] ** -0.5
            value = rng.uniform(-bound, bound, shape) / depth_divisor(name, first=extra.start)
        elif is_drawn(name, len(shape)):
            value = INIT_STD * ndtri(rng.uniform(low, high, shape)) / depth_divisor(name)
        else:
            continue
        parameter.set_data(Tensor(value.astype(np.float32)))
    return network


def is_of_dense(name: str) -> bool:
    """Whether PyTorch draws a block's parameter itself: all linear layers' but the biases of q and
    v, which are parameters beside a layer without bias.
    """
    inner = name.split(".", 2)[2]
    return inner.startswith(("attn.", "mlp.")) and inner not in {"attn.q.bias", "attn.v.bias"}


def is_drawn(name: str, ndim: int) -> bool:
    """Whether a parameter starts at random: matrices, tokens and position embeddings."""
    return name in {"cls_token", "mask_token", "pos_embed"} or (
        name.endswith(".weight") and ndim >= 2
    )


def depth_divisor(name: str, *, first: int = 0) -> float:
    """√(2 · (block + 1)) for the projections that end a block's branches, else 1.

    `first` is the number of the first block that is named 0.
    """
    is_output = name.endswith(("attn.proj.weight", "mlp.fc2.weight"))
    return float(np.sqrt(2.0 * (first + int(name.split(".")[1]) + 1))) if is_output else 1.0


def initialise(
    network: nn.Cell, *, seed: int, head_init_scale: float, prefix: str = "", first: int = 0
) -> None:
    """Draw the random weights; norms, biases, tables and layer scales have their constants already.

    Of a part of a network, `prefix` precedes its parameters' names, and `first` is the number of
    the first one: each number has draws of its own.

    Matrices and tokens: normal with standard deviation 0.02, truncated at ±2. A block's output
    projections are divided by √(2 · (block + 1)), the head is multiplied by `head_init_scale`. The
    patch projection keeps the uniform ±1/√fan_in of a PyTorch convolution, since the official
    initialiser passes convolutions over. Source: unilm/beit modeling_finetune.py, `_init_weights`
    and `fix_init_weight`.
    """
    for number, parameter in enumerate(network.get_parameters(), start=first):
        name, shape = parameter.name.removeprefix(prefix), parameter.shape
        rng = generator(seed, Stream.weights, number)
        if name.startswith("patch_embed."):
            bound = network.patch_embed.proj.weight[0].size ** -0.5
            value = rng.uniform(-bound, bound, shape)
        elif is_drawn(name, len(shape)):
            value = np.clip(
                INIT_STD * rng.standard_normal(shape, dtype=np.float32), -2, 2
            ) / depth_divisor(name)
            if name == "head.weight":
                value *= head_init_scale
        else:
            continue
        parameter.set_data(Tensor(value.astype(np.float32)))


def drop_path_keep(
    rate: float,
    *,
    depth: int,
    seed: int,
    micro_step: int,
    slots: np.ndarray,
    extra: range = range(0),
) -> np.ndarray | None:
    """(L + E, 2, B) float32: 0 where a block's branch is dropped for an image, else 1/(1 - its
    rate).

    The rate rises linearly from 0 at the first block to `rate` at the last; `extra` blocks have
    that of their number, on a line to whichever number is the last. `slots` are the images' places
    in the batch over all devices, so that splitting a batch over devices changes no draw. Source of
    the extra blocks' rates: unilm/beit2 modeling_pretrain.py, line 280.
    """
    if rate == 0:
        return None
    draws = generator(seed, Stream.drop_path, micro_step).random(
        (int(slots.max()) + 1, depth + len(extra), 2), dtype=np.float32
    )
    rates = np.linspace(0, rate, depth, dtype=np.float32)
    further = np.linspace(0, rate, max(depth, extra.stop), dtype=np.float32)[list(extra)]
    rates = np.concatenate((rates, further))[:, None]
    keep = (draws[slots] >= rates) / (1 - rates)
    return np.ascontiguousarray(keep.transpose(1, 2, 0), dtype=np.float32)
