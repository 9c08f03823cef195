from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor
from settings import GOLDEN, SMALL_TOKENIZER, make_config

from beit_exp.model.visual_tokenizer import build_tokenizer, map_pixels
from beit_exp.train.losses import (
    Autoencoding,
    Reconstruction,
    binary_cross_entropy,
    focal_cross_entropy,
    reconstruction,
    soft_cross_entropy,
)


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


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, np.ndarray]:
    """(B, K) logits, and targets that mixup and smoothing have spread."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((16, 7)) * 3, rng.dirichlet(np.full(7, 0.3), 16)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_focal_loss_is_that_of_its_definition(mixed, gamma: float) -> None:
    logits, targets = mixed
    log_p = log_softmax(logits)
    expected = -(targets * (1 - np.exp(log_p)) ** gamma * log_p).sum(axis=1).mean()
    arrays = (Tensor(array.astype(np.float32)) for array in mixed)
    found = focal_cross_entropy(*arrays, gamma=gamma)
    np.testing.assert_allclose(float(found.asnumpy()), expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_an_image_that_is_surely_found_has_a_finite_gradient_under_the_focal_loss(
    gamma: float,
) -> None:
    logits = Tensor(np.array([[80.0, 0.0], [0.0, 80.0]], np.float32))
    targets = Tensor(np.array([[1.0, 0.0], [0.9, 0.1]], np.float32))
    gradient = ms.grad(lambda logits: focal_cross_entropy(logits, targets, gamma=gamma))(logits)
    assert np.isfinite(gradient.asnumpy()).all() and gradient.asnumpy()[1].any()


def test_a_weight_of_a_class_is_a_factor_of_its_share_of_the_target(mixed) -> None:
    """As in torch's `cross_entropy(weight=...)` of soft targets, whose mean is over images."""
    logits, targets = mixed
    weights = np.array([0.2, 1.0, 3.0, 0.5, 2.0, 1.0, 7.0])
    expected = -(weights * targets * log_softmax(logits)).sum(axis=1).mean()
    found = soft_cross_entropy(
        Tensor(logits.astype(np.float32)), Tensor((targets * weights).astype(np.float32))
    )
    np.testing.assert_allclose(float(found.asnumpy()), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "targets", "is_weighted", "gamma"),
    [
        ("plain", "targets", False, 0.0),
        ("weighted", "targets", True, 0.0),
        ("focal", "hard", False, 2.0),
    ],
)
def test_the_losses_of_several_labels_and_their_gradients_are_torchs(
    name: str, targets: str, is_weighted: bool, gamma: float
) -> None:
    golden = np.load(GOLDEN / "multi_label.npz")
    weights = golden["weights"] if is_weighted else np.ones(7, np.float32)

    def loss(logits: Tensor) -> Tensor:
        return binary_cross_entropy(logits, Tensor(golden[targets]), Tensor(weights), gamma=gamma)

    found, gradient = ms.value_and_grad(loss)(Tensor(golden["logits"]))
    part = "loss of several labels"
    agree(part, found.asnumpy(), golden[f"{name}_loss"], within=1e-6)
    agree(f"{part}, gradient", gradient.asnumpy(), golden[f"{name}_gradient"], within=1e-6)


def test_a_label_that_is_surely_found_has_a_finite_gradient_under_the_focal_loss() -> None:
    logits, targets = (np.array([[90.0, -90.0]], np.float32), np.array([[1.0, 0.2]], np.float32))

    def loss(logits: Tensor) -> Tensor:
        weights = Tensor(np.ones(2, np.float32))
        return binary_cross_entropy(logits, Tensor(targets), weights, gamma=0.5)

    gradient = ms.grad(loss)(Tensor(logits)).asnumpy()
    assert np.isfinite(gradient).all() and gradient[0, 1] != 0
