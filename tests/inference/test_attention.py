"""Attention roll-out and position bias."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from settings import TINY, make_config

from beit_exp.inference.attention import (
    attention_weights,
    block_weights,
    position_bias,
    project,
    rollout,
    split_heads,
)
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision

TOKENS = 5


def test_even_attention_comes_from_everywhere_alike() -> None:
    even = np.full((1, 3, 2, TOKENS, TOKENS), 1 / TOKENS)
    for reads_class_token in (True, False):
        np.testing.assert_allclose(
            rollout(even, reads_class_token=reads_class_token), np.full((1, 2, 2), 0.25)
        )


def test_what_every_token_looks_at_is_where_the_map_is_brightest() -> None:
    looking = np.zeros((1, 3, 2, TOKENS, TOKENS))
    looking[..., 2] = 1  # all at the second patch
    for reads_class_token in (True, False):
        found = rollout(looking, reads_class_token=reads_class_token)[0]
        assert found.sum() == pytest.approx(1) and found.argmax() == 1
    # a token keeps half of itself in each of three blocks: an eighth of the class token stays
    assert rollout(looking, reads_class_token=True)[0, 0, 1] == pytest.approx(1.0)
    assert rollout(looking, reads_class_token=False)[0, 0, 0] == pytest.approx((1 / 8) / 4)


@pytest.mark.parametrize("tables", ["model.rel_pos_bias=true", "model.rel_pos_bias=false"])
def test_the_weights_are_the_networks_own(tables: str) -> None:
    cfg = make_config(*TINY, tables, "model.patch_size=8").model
    network = build_model(
        cfg, num_classes=10, precision=build_precision("O0", half=ms.float32), seed=0
    )
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        parameter.set_data(
            parameter + Tensor(rng.normal(0, 0.2, parameter.shape).astype(np.float32))
        )
    network.set_train(False)
    images = rng.standard_normal((2, 3, 32, 32), np.float32)
    weights, logits = attention_weights(network, images)
    np.testing.assert_allclose(logits, network(Tensor(images)).asnumpy(), rtol=1e-4, atol=1e-5)
    assert weights.shape == (2, 2, 2, 17, 17)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    block, tokens = network.blocks[0], Tensor(rng.standard_normal((2, 17, 32), np.float32))
    mine = block_weights(block, tokens, None)
    normed = block.norm1(tokens)
    summed = mine @ split_heads(project(block.attn.v, normed.asnumpy().astype(float)), 2)
    merged = summed.swapaxes(1, 2).reshape(2, 17, 32).astype(np.float32)
    bias = None if block.rel_pos is None else block.rel_pos()
    np.testing.assert_allclose(
        block.attn.proj(Tensor(merged)).asnumpy(),
        block.attn(normed, bias).asnumpy(),
        rtol=1e-4,
        atol=1e-5,
    )
    found = position_bias(network)
    assert list(found) == (["block 1", "block 2"] if "true" in tables else [])
    if found:
        table = network.blocks[1].rel_pos.relative_position_bias_table.asnumpy()
        assert found["block 2"][1, 2, 2] == table[3 * 7 + 3, 1]  # from the middle patch to itself
        # To the patch two rows above it
        assert found["block 2"][1, 0, 2] == table[(3 + 2) * 7 + 3, 1]
