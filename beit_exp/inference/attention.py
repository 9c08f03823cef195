"""Where a network looks: attention roll-out over images, and the bias that positions give it."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor

from beit_exp.inference.softmax import softmax
from beit_exp.model.beit import BEiT, Block
from beit_exp.model.layers import Weights
from beit_exp.model.precision import cast

# B images · L blocks · H heads · N tokens, the class token first · D width · G patches along a side


def attention_weights(network: BEiT, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, L, H, N, N) weights of every block's attention, and the (B, K) logits.

    Computed block by block: without compiling, in MindSpore's PyNative mode.
    """
    x_BND = network.tokens(network.patch_embed(Tensor(images)))
    shared = None if network.rel_pos_bias is None else network.rel_pos_bias()
    weights = []
    for block in network.blocks:
        weights.append(block_weights(block, x_BND, shared))
        x_BND = block(x_BND, shared, None, None)
    return np.stack(weights, axis=1), network.classify(x_BND).asnumpy()


def block_weights(block: Block, x_BND: Tensor, shared_HNN: Tensor | None) -> np.ndarray:
    """(B, H, N, N) float64 softmax(q kᵀ / √(D/H) + bias) of a block for its input."""
    attention, normed_BND = block.attn, in_float64(block.norm1(x_BND))
    q, k = (
        split_heads(project(part, normed_BND), attention.num_heads)
        for part in (attention.q, attention.k)
    )
    scores = q @ k.swapaxes(2, 3) * q.shape[3] ** -0.5
    bias = shared_HNN if block.rel_pos is None else block.rel_pos()
    if bias is not None:
        scores = scores + bias.asnumpy()
    return softmax(scores)


def project(part: Weights, x_BND: np.ndarray) -> np.ndarray:
    """(B, N, D) float64 q, k or v."""
    out = x_BND @ in_float64(part.weight).T
    return out if part.bias is None else out + in_float64(part.bias)


def in_float64(x: Tensor) -> np.ndarray:
    """The numbers of a tensor of any precision: NumPy knows no bfloat16."""
    return cast(x, ms.float32).asnumpy().astype(np.float64)


def split_heads(x_BND: np.ndarray, heads: int) -> np.ndarray:
    """(B, N, D) -> (B, H, N, D/H)."""
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
    """(H, G, G) bias from the middle patch to every other, by what to call the block.

    Of the first, the middle and the last block, or of the one table that all share; empty if the
    network has no tables.
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
    """(H, G, G) of an (H, N, N) bias: the middle patch's row, where each patch lies."""
    grid = round((bias_HNN.shape[1] - 1) ** 0.5)
    middle = 1 + (grid // 2) * grid + grid // 2
    return bias_HNN[:, middle, 1:].reshape(-1, grid, grid)
