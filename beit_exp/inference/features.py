"""Features of images: the outputs of a network's blocks, pooled."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from typing_extensions import assert_never

from beit_exp.config.probing import FeaturePooling
from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.data.listing import ImageList
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import fill_up
from beit_exp.inference.feature_files import write_features
from beit_exp.model.attention import Attention
from beit_exp.model.beit import Backbone, Block
from beit_exp.model.build import build_backbone
from beit_exp.model.precision import build_precision, cast
from beit_exp.weights.load import load_backbone

logger = logging.getLogger(__name__)

# B batch · N tokens, the class token first · P patches · D width · H heads · K width per head
# L chosen blocks · F numbers of an image's features · S image side


class BlockFeatures(nn.Cell):
    """(B, 3, S, S) normalised images -> (B, L, F) float32 pooled outputs of blocks, in their order.

    Of all tokens (B, L, N, D).
    The outputs are taken as they are, without a final norm. Source: unilm/beit
    modeling_finetune.py, `get_intermediate_layers`, and run_linear_eval.py.
    """

    def __init__(
        self, network: Backbone, *, blocks: Sequence[int], pooling: FeaturePooling
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.numbers = tuple(blocks)
        self.pool = build_pool(pooling)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        network = self.network
        x_BND = network.tokens(network.patch_embed(images_BCSS))
        shared_HNN = network.shared_bias()
        found = []
        for number in range(self.numbers[-1] + 1):
            block, before_BND = network.blocks[number], x_BND
            x_BND = block(before_BND, shared_HNN, None, None)
            if number in self.numbers:
                found.append(self.pool(block, before_BND, cast(x_BND, ms.float32), shared_HNN))
        return ops.stack(found, axis=1)


Pool = Callable[[Block, Tensor, Tensor, "Tensor | None"], Tensor]


def build_pool(pooling: FeaturePooling) -> Pool:
    """What makes (B, F), or (B, N, D) of all tokens, of a block's input and float32 output."""
    match pooling:
        case "cls":
            return class_token
        case "mean":
            return patch_mean
        case "both":
            return class_token_and_mean
        case "attention":
            return attended_patches
        case "tokens":
            return all_tokens
        case _:
            assert_never(pooling)


def class_token(block: Block, before_BND: Tensor, x_BND: Tensor, bias: Tensor | None) -> Tensor:
    return x_BND[:, 0]


def patch_mean(block: Block, before_BND: Tensor, x_BND: Tensor, bias: Tensor | None) -> Tensor:
    return x_BND[:, 1:].mean(axis=1)


def class_token_and_mean(
    block: Block, before_BND: Tensor, x_BND: Tensor, bias: Tensor | None
) -> Tensor:
    return ops.concat((x_BND[:, 0], x_BND[:, 1:].mean(axis=1)), axis=1)


def all_tokens(block: Block, before_BND: Tensor, x_BND: Tensor, bias: Tensor | None) -> Tensor:
    return x_BND


def attended_patches(
    block: Block, before_BND: Tensor, x_BND: Tensor, bias_HNN: Tensor | None
) -> Tensor:
    """The patches' sum, each weighed by its share of what the class token attends to."""
    own_HNN = bias_HNN if block.rel_pos is None else block.rel_pos()
    shares_BP = class_attention(block.attn, block.norm1(before_BND), own_HNN)
    return (x_BND[:, 1:] * ops.expand_dims(shares_BP, 2)).sum(axis=1)


def class_attention(attention: Attention, x_BND: Tensor, bias_HNN: Tensor | None) -> Tensor:
    """(B, P) float32 shares of the patches in what the class token attends to, over all heads.

    The sum is 1: the class token's own share is left out.
    """
    tokens, num_heads = x_BND.shape[1], attention.num_heads
    q, k, _ = attention.projections(x_BND)
    q_BHNK = cast(attention.attend.by_heads(q, tokens, num_heads), ms.float32)
    k_BHNK = cast(attention.attend.by_heads(k, tokens, num_heads), ms.float32)
    scores_BHN = (q_BHNK[:, :, :1] * k_BHNK).sum(axis=-1) * q_BHNK.shape[3] ** -0.5
    if bias_HNN is not None:
        scores_BHN = scores_BHN + cast(bias_HNN, ms.float32)[:, 0]
    shares_BP = ops.softmax(scores_BHN, -1).mean(axis=1)[:, 1:]
    return shares_BP / shares_BP.sum(axis=1, keepdims=True)


def block_numbers(blocks: Sequence[int], depth: int) -> list[int]:
    """Blocks as Python counts them -> their numbers from 0 on, rising."""
    return sorted(number % depth for number in blocks)


def load_features(cfg: Config, runtime: Runtime, *, blocks: Sequence[int]) -> BlockFeatures:
    """The features of `cfg.checkpoint`'s blocks of these rising numbers, of whatever training."""
    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    network = build_backbone(cfg.model, precision=precision)
    load_backbone(network, str(cfg.checkpoint), kind=cfg.checkpoint_kind)
    return BlockFeatures(network, blocks=blocks, pooling=cfg.features.pooling)


def feature_rows(
    network: BlockFeatures,
    images: ImageList,
    cfg: Config,
    runtime: Runtime,
    *,
    check_stop: Callable[[], None],
) -> Iterator[np.ndarray]:
    """(n, L, F) float32 of the images in their order, some batches at a time, on every rank.

    Each rank computes its share. What is in memory does not grow with the number of images. Of
    several ranks none stops by itself, for the others would wait for it.
    """
    size, count = min(cfg.train.batch_size, len(images)), len(images)
    rounds = -(-count // (size * runtime.size))
    mine = eval_batches(images, cfg, Shard(runtime.rank, runtime.size))
    network.set_train(False)
    for number in range(rounds):
        batch = next(mine, None)  # the last one of this rank may have been before
        shape = (0, 3, cfg.model.image_size, cfg.model.image_size)
        batch_BCSS = np.zeros(shape, np.float32) if batch is None else batch[0]
        own_BLF = network(Tensor(fill_up(batch_BCSS, size))).asnumpy()
        of_ranks = runtime.gather(own_BLF.ravel()).reshape(runtime.size, *own_BLF.shape)
        # Rank r has every `runtime.size`-th image from r on
        in_order = of_ranks.swapaxes(0, 1).reshape(-1, *own_BLF.shape[1:])
        yield in_order[: count - number * size * runtime.size]
        if runtime.size == 1:
            check_stop()


def store_features(
    network: BlockFeatures,
    sets: Mapping[str, tuple[ImageList, Sequence[str]]],
    folder: Path,
    cfg: Config,
    runtime: Runtime,
    *,
    check_stop: Callable[[], None],
) -> None:
    """Have the leader write a folder for each set of images, and what to call each image there."""
    for name, (images, names) in sets.items():
        started = time.perf_counter()
        rows = feature_rows(network, images, cfg, runtime, check_stop=check_stop)
        if not runtime.is_leader:
            deque(rows, maxlen=0)  # the leader gets this rank's share by them
            continue
        place = folder / name
        write_features(place, rows, images, names, cfg.features, blocks=network.numbers)
        speed = len(images) / (time.perf_counter() - started)
        text = "%d images of %s, %.0f images/s, compiling included"
        logger.info(text, len(images), name, speed)
