from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from settings import GOLDEN, SMALL_VQKD, make_config
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.model.visual_tokenizer import VisualTokenizer
from beit_exp.model.vqkd import VqkdTokenizer
from beit_exp.weights.tokenizer import load_tokenizer, read_tokenizer
from beit_exp.weights.torch_file import read_torch_file

pytestmark = pytest.mark.usefixtures("compiled")

DALLE = GOLDEN / "mim" / "dalle_encoder_state_dict.pth"
VQKD = GOLDEN / "vqkd_tokenizer.pth"


def load(cfg: Config, path: Path) -> VisualTokenizer | VqkdTokenizer:
    return load_tokenizer(cfg.tokenizer, cfg.model, str(path), precision=FLOAT32)


def test_dalles_state_dict_loads_with_and_without_a_prefix(monkeypatch) -> None:
    shape = json.loads((GOLDEN / "mim" / "config.json").read_text())["encoder"]
    settings = (
        f"tokenizer.vocabulary={shape['vocab_size']}",
        f"tokenizer.hidden={shape['n_hid']}",
        f"tokenizer.blocks_per_group={shape['n_blk_per_group']}",
    )
    reference = np.load(GOLDEN / "mim" / "reference.npz")
    tokenizer = load(make_config(*settings), DALLE)
    assert tokenizer.decoder is None
    assert list(tokenizer.trainable_params()) == []
    tokens = tokenizer(Tensor(reference["tokenizer_images_0_1"])).asnumpy()
    np.testing.assert_array_equal(tokens, reference["tokens"])
    plain = read_tokenizer(DALLE)
    prefixed = {f"encoder.{name}": array for name, array in read_torch_file(DALLE).items()}
    monkeypatch.setattr("beit_exp.weights.tokenizer.read_torch_file", lambda path: prefixed)
    again = read_tokenizer(DALLE)
    assert plain.keys() == again.keys()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (("tokenizer.hidden=8",), "does not fit the tokenizer: "),
        (("tokenizer.blocks_per_group=3",), "tensors differ"),
    ],
)
def test_a_tokenizer_of_another_shape_is_refused(settings: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load(make_config(*settings), DALLE)


def test_weights_of_something_else_are_no_tokenizer() -> None:
    with pytest.raises(UserError, match="holds no visual tokenizer"):
        load(make_config(), GOLDEN / "mim" / "official.pth")


def test_an_official_tokenizer_of_beit_v2_makes_torchs_tokens() -> None:
    tokenizer = load(make_config(*SMALL_VQKD), VQKD)
    assert tokenizer.decoder is None and list(tokenizer.trainable_params()) == []
    reference = np.load(GOLDEN / "vqkd_training.npz")
    tokens = tokenizer(Tensor(reference["images"][0])).asnumpy()
    np.testing.assert_array_equal(tokens, reference["trained_tokens"])
    assert len(np.unique(tokens)) > 3


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("tokenizer.vocabulary=9", r"such as quantize.codes \(there \(8, 4\), needed \(9, 4\)"),
        ("model.image_size=32", "model.image_size and patch_size must be those"),
    ],
)
def test_a_tokenizer_of_beit_v2_of_another_shape_is_refused(setting: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load(make_config(*SMALL_VQKD, setting), VQKD)


def test_each_kind_of_tokenizer_refuses_the_weights_of_the_other() -> None:
    with pytest.raises(UserError, match="holds no tokenizer of BEiT v2"):
        load(make_config(*SMALL_VQKD), DALLE)
    with pytest.raises(UserError, match="holds no visual tokenizer"):
        load(make_config(), VQKD)
