from __future__ import annotations

import os
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor, nn, ops
from settings import GOLDEN, ROOT, make_config

from beit_exp.hardware import cluster
from beit_exp.model.vector_quantizer import (
    CodebookUpdate,
    VectorQuantizer,
    spherical_kmeans,
    start_codes,
)

REFERENCE = dict(np.load(GOLDEN / "vector_quantizer.npz"))
VOCABULARY, WIDTH = REFERENCE["codes"].shape[1:]
BETA, DECAY = 0.7, 0.9
MODES = [
    pytest.param(ms.PYNATIVE_MODE, id="eager", marks=pytest.mark.slow),
    pytest.param(ms.GRAPH_MODE, id="compiled"),
]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class Gradient(nn.Cell):
    """Codes, price and tokens, and the gradient by the vectors of a weighted sum."""

    def __init__(self, quantizer: VectorQuantizer) -> None:
        super().__init__(auto_prefix=False)
        self.quantizer = quantizer
        self.gradient = ops.value_and_grad(self.loss, 0, has_aux=True)

    def loss(self, x, weights):
        passed, price_B, tokens = self.quantizer(x)
        price = price_B.mean()
        return (passed * weights).sum() + price, passed, price, tokens

    def construct(self, x, weights):
        return self.gradient(x, weights)


def build(codes: np.ndarray) -> VectorQuantizer:
    quantizer = VectorQuantizer(*codes.shape, beta=BETA)
    quantizer.codes.set_data(Tensor(codes))
    return quantizer


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_twenty_steps_of_the_codebook_are_torchs(mode: int) -> None:
    ms.set_context(mode=mode)
    quantizer = build(REFERENCE["kmeans"])
    forward, update = Gradient(quantizer), CodebookUpdate(quantizer, decay=DECAY, ranks=1)
    weights = Tensor(REFERENCE["weights"])
    for step, x in enumerate(REFERENCE["inputs"]):
        (_, passed, price, tokens), gradient = forward(Tensor(x), weights)
        counts = update(Tensor(x), tokens)
        np.testing.assert_array_equal(tokens.asnumpy(), REFERENCE["tokens"][step])
        np.testing.assert_array_equal(counts.asnumpy(), REFERENCE["counts"][step])
        found = {"passed": passed, "price": price, "gradients": gradient}
        found |= {"codes": quantizer.codes, "usage": quantizer.usage}
        for name, tensor in found.items():
            expected = REFERENCE[name][step]
            agree("codebook: 20 steps", tensor.asnumpy(), expected, within=1e-5)


@pytest.mark.slow
def test_kmeans_of_the_first_batch_is_torchs_and_leaves_a_code_that_nothing_is_near() -> None:
    samples = unit(REFERENCE["inputs"][0].reshape(-1, WIDTH))
    found = spherical_kmeans(samples, REFERENCE["start"])
    agree("codebook: k-means", found, REFERENCE["kmeans"], within=1e-5)
    np.testing.assert_array_equal(found[-1], REFERENCE["start"][-1])


@pytest.mark.slow
def test_codes_begin_in_the_middle_of_what_is_there() -> None:
    rng = np.random.default_rng(0)
    middles = np.eye(4, dtype=np.float32)
    samples = unit(middles.repeat(50, 0) + 0.05 * rng.standard_normal((200, 4))).astype(np.float32)
    codes = start_codes(samples, 64, np.random.default_rng(1))
    assert codes.dtype == np.float32 and codes.shape == (64, 4)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-5)
    assert (codes @ middles.T).max(axis=1).min() > 0.95
    same = start_codes(samples, 64, np.random.default_rng(1))
    np.testing.assert_array_equal(codes, same)
    assert start_codes(samples[:3], 8, rng).shape == (8, 4)  # fewer vectors than codes


@pytest.mark.slow
def test_a_vectors_length_changes_nothing_and_gets_no_gradient() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    forward = Gradient(build(REFERENCE["kmeans"]))
    x, weights = REFERENCE["inputs"][0], Tensor(REFERENCE["weights"])
    (_, passed, price, tokens), gradient = forward(Tensor(x), weights)
    (_, *same), _ = forward(Tensor(3 * x), weights)
    for ours, other in zip((passed, price, tokens), same, strict=True):
        np.testing.assert_allclose(ours.asnumpy(), other.asnumpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((gradient.asnumpy() * x).sum(axis=-1), 0, atol=1e-5)


@pytest.mark.slow
def test_the_update_is_the_average_of_directions_and_unused_codes_stay() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    codes = np.eye(3, dtype=np.float32)
    quantizer = build(codes)
    x = np.array([[[2, 0.1, 0], [0.5, 0.2, 0], [0, 1, 0.3]]], np.float32)
    tokens = quantizer(Tensor(x))[2]
    CodebookUpdate(quantizer, decay=0.99, ranks=1)(Tensor(x), tokens)
    np.testing.assert_array_equal(tokens.asnumpy(), [[0, 0, 1]])
    places = np.stack((unit(unit(x[0, :2]).sum(axis=0)), unit(x[0, 2]), codes[2]))
    expected = unit(0.99 * codes + 0.01 * places)
    np.testing.assert_allclose(quantizer.codes.asnumpy(), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(quantizer.usage.asnumpy(), [0.02, 0.01, 0], rtol=1e-5)


@pytest.mark.slow
def test_codes_are_no_weights_that_an_optimizer_moves() -> None:
    assert list(VectorQuantizer(8, 4, beta=1.0).trainable_params()) == []


RANK = """
import sys
import numpy as np
from mindspore import Tensor
from beit_exp.hardware.device import start_device
from beit_exp.model.vector_quantizer import CodebookUpdate
from settings import make_config
from test_vector_quantizer import REFERENCE, build

cfg = make_config("hardware.device_num=2", "hardware.device_target=cpu")
runtime = start_device(cfg.hardware, seed=0)
quantizer = build(REFERENCE["kmeans"])
update = CodebookUpdate(quantizer, decay=0.9, ranks=runtime.size)
for x in REFERENCE["inputs"][:3]:
    own = Tensor(x[runtime.rank : runtime.rank + 1])
    update(own, quantizer(own)[2])
np.save(f"{sys.argv[1]}/{runtime.rank}.npy", quantizer.codes.asnumpy())
"""


@pytest.mark.slow
def test_two_processes_move_the_codes_as_one_with_both_their_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = (str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.chdir(tmp_path)
    hardware = make_config("hardware.device_num=2", "hardware.device_target=cpu").hardware
    assert cluster.run(hardware, [sys.executable, "-c", RANK, str(tmp_path)]) == 0
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npy")
        agree("codebook: two processes", found, REFERENCE["codes"][2], within=1e-5)
