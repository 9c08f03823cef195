from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor
from settings import GOLDEN

from beit_exp.model.visual_tokenizer import DalleDecoder, DalleEncoder, map_pixels, our_name
from beit_exp.weights.torch_file import read_torch_file

pytestmark = pytest.mark.usefixtures("compiled")


def convolved(x_CHW: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution that keeps the size, from its definition."""
    margin = weight.shape[2] // 2
    padded = np.pad(x_CHW, ((0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None]


def decoded(arrays: dict[str, np.ndarray], shares_VGG: np.ndarray, *, blocks: int) -> np.ndarray:
    """DALL-E's decoder in NumPy, by the paper's appendix A.2 (four groups, each block 1x1, 3x3,
    3x3, 3x3).
    """

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return convolved(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"])

    x = layer("input", shares_VGG)
    for group in range(4):
        for block in range(blocks):
            name, y = f"groups.{group}.{block}", x
            for number in range(1, 5):
                y = layer(f"{name}.conv_{number}", np.maximum(y, 0))
            x = (layer(f"{name}.id_path", x) if f"{name}.id_path.weight" in arrays else x) + y / (
                4 * blocks
            ) ** 2
        if group < 3:
            x = x.repeat(2, axis=1).repeat(2, axis=2)
    return layer("output", np.maximum(x, 0))


def test_the_decoder_is_the_papers() -> None:
    decoder = DalleDecoder(input_width=6, hidden=4, blocks_per_group=2, vocabulary=5)
    rng = np.random.default_rng(0)
    for parameter in decoder.get_parameters():
        parameter.set_data(Tensor(rng.standard_normal(parameter.shape).astype(np.float32) * 0.5))
    arrays = {
        parameter.name: parameter.asnumpy().astype(np.float64)
        for parameter in decoder.get_parameters()
    }
    shares = rng.random((2, 5, 3, 3)).astype(np.float32)
    expected = np.stack([decoded(arrays, one, blocks=2) for one in shares])
    assert expected.shape == (2, 6, 24, 24)
    found = decoder(Tensor(shares)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_visual_tokens_are_those_of_dalles_encoder() -> None:
    folder = GOLDEN / "mim"
    golden = json.loads((folder / "config.json").read_text())["encoder"]
    reference = np.load(folder / "reference.npz")
    encoder = DalleEncoder(
        hidden=golden["n_hid"],
        blocks_per_group=golden["n_blk_per_group"],
        vocabulary=golden["vocab_size"],
    )
    arrays = {
        our_name(name): array
        for name, array in read_torch_file(folder / "dalle_encoder_state_dict.pth").items()
    }
    parameters = {parameter.name: parameter for parameter in encoder.get_parameters()}
    assert parameters.keys() == arrays.keys()
    for name, array in arrays.items():
        parameters[name].set_data(Tensor(array))
    logits = encoder(map_pixels(Tensor(reference["tokenizer_images_0_1"]))).asnumpy()
    agree("visual tokenizer: logits", logits, reference["token_logits"], within=1e-3)
    np.testing.assert_array_equal(
        logits.argmax(axis=1).reshape(len(logits), -1), reference["tokens"]
    )
