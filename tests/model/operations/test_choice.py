from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from settings import make_config

from beit_exp.model.build import build_model
from beit_exp.model.operations import onednn_kernels
from beit_exp.model.precision import build_precision
from beit_exp.train.losses import Classification
from beit_exp.train.step import GradientCell

pytestmark = pytest.mark.usefixtures("compiled")


def test_both_kinds_of_kernels_train_alike_and_rounding_stays_near(monkeypatch) -> None:
    cfg = make_config(
        "model.embed_dim=64", "model.depth=1", "model.num_heads=2", "model.head_init_scale=1.0"
    ).model
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((4, 3, 32, 32), np.float32))
    targets = Tensor(np.eye(10, dtype=np.float32)[:4])

    def gradients(level: str) -> list[np.ndarray]:
        network = build_model(
            cfg, num_classes=10, precision=build_precision(level, half=ms.float32), seed=0
        )
        cell = GradientCell(Classification(network), accumulate_steps=1, ranks=1)
        loss, _, found = cell(Tensor(np.float32(1)), True, images, targets, None)
        return [loss.asnumpy(), *(gradient.asnumpy() for gradient in found)]

    own, half = gradients("O0"), gradients("O1")
    monkeypatch.setattr(onednn_kernels, "is_available", lambda: False)
    plain = gradients("O0")
    for ours, rounding, mindspore in zip(own, half, plain, strict=True):
        largest = max(1e-3, float(np.abs(mindspore).max()))
        np.testing.assert_allclose(ours, mindspore, rtol=1e-4, atol=2e-6 * largest)
        np.testing.assert_allclose(rounding, mindspore, atol=0.05 * largest)
