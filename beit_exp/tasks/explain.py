"""Where a network looks: attention roll-out over images, and the bias that positions give it."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from beit_exp.config.schema import Config
from beit_exp.data.transforms import load_image, make_eval_transform
from beit_exp.hardware.device import Runtime
from beit_exp.inference.classes import rank_classes
from beit_exp.inference.images import find_images
from beit_exp.inference.network import class_names, load_network
from beit_exp.model.beit import BEiT, Block
from beit_exp.model.precision import cast
from beit_exp.report.plots import plot_attention, plot_position_bias
from beit_exp.storage.files import replacing
from beit_exp.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
SHOWN = 8


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Draw `plots/attention.png` of the first images and `plots/position_bias.png`; maps stand in
    `attention.npy`.
    """
    network = load_network(cfg, runtime)
    ms.set_context(mode=ms.PYNATIVE_MODE)  # each block runs once, by itself: nothing to compile for
    plots = run_dir / "plots"
    transform = make_eval_transform(cfg.dataset, image_size=cfg.model.image_size)
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".images.") as folder:
        paths = find_images(cfg, Path(folder)).paths[:SHOWN]
        images = np.stack([transform(load_image(path)) for path in paths])
    weights_BLHNN, logits = attention_weights(network, images)
    maps = rollout(weights_BLHNN, reads_class_token=cfg.model.pooling == "cls")
    with replacing(run_dir / "attention.npy") as temporary, temporary.open("wb") as file:
        np.save(file, maps)
    best = rank_classes(logits, class_names(cfg))
    titles = [f"{row[0]} {100 * float(row[len(row) // 2]):.0f} %" for row in best]
    mean, std = (
        np.array(values, np.float32)[:, None, None]
        for values in (cfg.dataset.mean, cfg.dataset.std)
    )
    plot_attention(images * std + mean, maps, titles, plots / "attention.png")
    if bias := position_bias(network):
        plot_position_bias(bias, plots / "position_bias.png")
    for path in sorted(plots.glob("*.png")):
        tracker.log_file(path, folder="plots")
    tracker.log_file(run_dir / "attention.npy")
    logger.info("%d images explained: %s", len(paths), plots)
    return {"explain/images": len(paths)}


def attention_weights(network: BEiT, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, L, H, N, N) weights of every block's attention, and the (B, K) logits, computed block by
    block.
    """
    patches_BND = network.patch_embed(Tensor(images))
    cls_B1D = ops.tile(cast(network.cls_token, patches_BND.dtype), (len(images), 1, 1))
    x_BND = ops.concat((cls_B1D, patches_BND), axis=1)
    if network.pos_embed is not None:
        x_BND = x_BND + network.pos_embed
    shared = None if network.rel_pos_bias is None else network.rel_pos_bias()
    weights = []
    for block in network.blocks:
        weights.append(block_weights(block, x_BND, shared))
        x_BND = block(x_BND, shared, None, None)
    return np.stack(weights, axis=1), network.classify(x_BND).asnumpy()


def block_weights(block: Block, x_BND: Tensor, shared_HNN: Tensor | None) -> np.ndarray:
    """(B, H, N, N) float64 softmax(q kᵀ / √K + bias) of a block for its input."""
    attention, normed = block.attn, block.norm1(x_BND)
    q, k = (
        split_heads(part(normed).asnumpy().astype(np.float64), attention.num_heads)
        for part in (attention.q, attention.k)
    )
    scores = q @ k.swapaxes(2, 3) * attention.scale
    bias = shared_HNN if block.rel_pos is None else block.rel_pos()
    if bias is not None:
        scores = scores + bias.asnumpy()
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def split_heads(x_BND: np.ndarray, heads: int) -> np.ndarray:
    batch, tokens, width = x_BND.shape
    return x_BND.reshape(batch, tokens, heads, width // heads).swapaxes(1, 2)


def rollout(weights_BLHNN: np.ndarray, *, reads_class_token: bool) -> np.ndarray:
    """(B, G, G): how much of what the head reads comes from each patch.

    A block passes on half of each token and half of what its attention brings; the product of these
    over all blocks says where a token comes from. The head reads the class token or the mean of the
    patches. The class token's own share is left out, and each map's sum is 1. Source: Abnar and
    Zuidema (arXiv 2005.00928).
    """
    mixed_BLNN = (weights_BLHNN.mean(axis=2) + np.eye(weights_BLHNN.shape[-1])) / 2
    flow_BNN = mixed_BLNN[:, 0]
    for number in range(1, mixed_BLNN.shape[1]):
        flow_BNN = mixed_BLNN[:, number] @ flow_BNN
    read_BN = flow_BNN[:, 0] if reads_class_token else flow_BNN[:, 1:].mean(axis=1)
    patches = read_BN[:, 1:] / read_BN[:, 1:].sum(axis=1, keepdims=True)
    grid = round(patches.shape[1] ** 0.5)
    return patches.reshape(-1, grid, grid)


def position_bias(network: BEiT) -> dict[str, np.ndarray]:
    """(H, G, G) bias from the middle patch to every other, of the first, the middle and the last
    block.
    """
    if network.rel_pos_bias is not None:
        return {"all blocks": around_middle(network.rel_pos_bias().asnumpy())}
    blocks = list(network.blocks)
    chosen = sorted({0, len(blocks) // 2, len(blocks) - 1})
    having = {
        number: blocks[number].rel_pos for number in chosen if blocks[number].rel_pos is not None
    }
    return {
        f"block {number + 1}": around_middle(table().asnumpy()) for number, table in having.items()
    }


def around_middle(bias_HNN: np.ndarray) -> np.ndarray:
    grid = round((bias_HNN.shape[1] - 1) ** 0.5)
    middle = 1 + (grid // 2) * grid + grid // 2
    return bias_HNN[:, middle, 1:].reshape(-1, grid, grid)
