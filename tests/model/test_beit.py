from __future__ import annotations

import numpy as np
from mindspore import Tensor
from networks import build


def test_a_dropped_branch_leaves_the_image_as_it_was() -> None:
    network = build("model.depth=1", "model.rel_pos_bias=true")
    images = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32))
    nothing_kept = Tensor(np.zeros((1, 2, 2), np.float32))
    tokens = network.features(network.patch_embed(images), nothing_kept).asnumpy()
    embedded = network.patch_embed(images).asnumpy() + network.pos_embed.asnumpy()[:, 1:]
    np.testing.assert_allclose(tokens[:, 1:], embedded, atol=1e-6)
