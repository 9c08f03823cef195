from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor
from settings import SMALL_TOKENIZER, make_config

from beit_exp.model.visual_tokenizer import build_tokenizer, map_pixels
from beit_exp.train.losses import Autoencoding, Reconstruction, reconstruction


def test_the_likelihood_of_pixels_is_a_density() -> None:
    x = np.linspace(1e-4, 1 - 1e-4, 40001, dtype=np.float32)
    for mean, ln_b in ((0.0, 0.0), (1.5, -1.0), (-2.0, 0.5)):
        laws = np.concatenate(
            [np.full((len(x), 3, 1, 1), mean), np.full((len(x), 3, 1, 1), ln_b)], axis=1
        )
        images = np.broadcast_to(x[:, None, None, None], (len(x), 3, 1, 1)).copy()
        cost, _ = reconstruction(Tensor(laws.astype(np.float32)), Tensor(images))
        assert np.exp(-cost.asnumpy().astype(float)).mean() == pytest.approx(1, abs=0.02)


def test_drawn_tokens_cost_the_decoder_what_they_are_decoded_to() -> None:
    cfg = make_config(*SMALL_TOKENIZER).tokenizer
    tokenizer = build_tokenizer(cfg, has_decoder=True, seed=3)
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    no_noise, temperature = np.zeros((2, 16, 2, 2), np.float32), np.float32(0.5)
    objective = Autoencoding(tokenizer, straight_through=True, kl_weight=0.0)
    loss, error = objective(Tensor(images), Tensor(no_noise), Tensor(temperature))
    tokens, rebuilt, costs, errors = Reconstruction(tokenizer)(Tensor(images))
    assert tokens.shape == (2, 4) and rebuilt.shape == images.shape
    assert float(loss.asnumpy()) == pytest.approx(costs.asnumpy().mean(), rel=1e-5)
    assert float(error.asnumpy()) == pytest.approx(errors.asnumpy().mean(), rel=1e-5)
    assert errors.asnumpy() == pytest.approx(
        ((rebuilt.asnumpy() - images) ** 2).mean(axis=(1, 2, 3)), rel=1e-4
    )
    soft, _ = Autoencoding(tokenizer, straight_through=False, kl_weight=0.0)(
        Tensor(images), Tensor(no_noise), Tensor(np.float32(1e-3))
    )
    # Cold mixtures are tokens
    assert float(soft.asnumpy()) == pytest.approx(float(loss.asnumpy()), abs=1e-3)


def test_the_divergence_is_that_from_the_uniform_distribution() -> None:
    cfg = make_config(*SMALL_TOKENIZER).tokenizer
    tokenizer = build_tokenizer(cfg, has_decoder=True, seed=3)
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    arrays = Tensor(images), Tensor(np.zeros((2, 16, 2, 2), np.float32)), Tensor(np.float32(1.0))
    with_it, without = (
        float(
            Autoencoding(tokenizer, straight_through=False, kl_weight=weight)(*arrays)[0].asnumpy()
        )
        for weight in (2.0, 0.0)
    )
    logits = tokenizer.encoder(map_pixels(Tensor(images))).asnumpy().astype(float)
    q = np.exp(logits - logits.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    assert with_it - without == pytest.approx(2 * (q * np.log(q * 16)).sum(axis=1).mean(), rel=1e-3)
