from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor
from networks import build

from beit_exp.model.operations.heads import MergeHeads, SplitHeads
from beit_exp.model.operations.rows import Rows, Transposition
from beit_exp.train.losses import Classification
from beit_exp.train.step import GradientCell

pytestmark = pytest.mark.usefixtures("compiled")


def test_sums_spreads_and_heads_by_products_give_the_numbers_of_the_operators() -> None:
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((2, 3, 32, 32), np.float32))
    keep = Tensor(np.array([[[1, 0], [2, 1]]], np.float32))
    targets = Tensor(np.eye(10, dtype=np.float32)[:2])
    found = []
    for by_products in (True, False):  # a CPU's way, and the one of other devices
        network = build("model.embed_dim=32", "model.depth=1", "model.num_heads=2", num_classes=10)
        for _, cell in network.cells_and_names():
            if isinstance(cell, Rows | Transposition):
                cell.by_products = by_products
            if isinstance(cell, SplitHeads | MergeHeads):
                cell.by_rows = by_products
        cell = GradientCell(Classification(network), accumulate_steps=1, ranks=1)
        cell.set_train()
        loss, _, gradients = cell(Tensor(np.float32(1)), True, images, targets, keep)
        found.append([loss.asnumpy(), *(gradient.asnumpy() for gradient in gradients)])
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(
            ours, plain, rtol=1e-4, atol=1e-6 * max(1.0, float(np.abs(plain).max()))
        )
