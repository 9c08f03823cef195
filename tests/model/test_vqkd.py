from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from settings import make_config
from trajectory import FLOAT32

from beit_exp.model.precision import build_precision
from beit_exp.model.vqkd import build_vqkd

pytestmark = pytest.mark.usefixtures("compiled")
SMALL = (
    "tokenizer=vqkd_encoder_base_decoder_3x768x12",
    *("tokenizer.embed_dim=64", "tokenizer.num_heads=2", "tokenizer.depth=2"),
    *("tokenizer.vocabulary=16", "tokenizer.code_width=8"),
)


def test_weights_begin_as_the_originals_do() -> None:
    network = build_vqkd(make_config(*SMALL), feature_width=24, precision=FLOAT32)
    arrays = {each.name: each.asnumpy() for each in network.get_parameters()}
    assert arrays["encode_task_layer.0.weight"].std() == pytest.approx(0.02, rel=0.1)
    assert arrays["decoder.pos_embed"].std() == pytest.approx(0.02, rel=0.1)
    first, second = (arrays[f"encoder.blocks.{n}.mlp.fc2.weight"].std() for n in (0, 1))
    assert first == pytest.approx(0.02 / 2**0.5, rel=0.05)
    assert second == pytest.approx(0.02 / 2, rel=0.05)
    edge = np.abs(arrays["decoder.patch_embed.proj.weight"]).max()
    assert edge == pytest.approx(8**-0.5, rel=0.05)  # of a convolution of 8 numbers
    one, other = (arrays[f"{part}.blocks.0.mlp.fc1.weight"] for part in ("encoder", "decoder"))
    assert np.abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05
    assert not arrays["quantize.codes"].any()


@pytest.mark.slow
def test_codes_are_chosen_in_float32_whatever_the_precision() -> None:
    half = build_precision("O3", half=ms.float16)
    network = build_vqkd(make_config(*SMALL), feature_width=24, precision=half)
    images = Tensor(np.random.default_rng(0).random((2, 3, 32, 32), np.float32))
    assert network.encode(images).dtype == ms.float32
    assert network.decode(network.encode(images)).dtype == ms.float32
    assert network(images).shape == (2, 16)
