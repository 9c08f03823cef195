from __future__ import annotations

import json

import numpy as np
import pytest
from mindspore import Tensor
from settings import GOLDEN, make_config

from beit_exp.errors import UserError
from beit_exp.weights.tokenizer import load_tokenizer, read_tokenizer
from beit_exp.weights.torch_file import read_torch_file

pytestmark = pytest.mark.usefixtures("compiled")

DALLE = GOLDEN / "mim" / "dalle_encoder_state_dict.pth"


def test_dalles_state_dict_loads_with_and_without_a_prefix(monkeypatch) -> None:
    shape = json.loads((GOLDEN / "mim" / "config.json").read_text())["encoder"]
    settings = (
        f"tokenizer.vocabulary={shape['vocab_size']}",
        f"tokenizer.hidden={shape['n_hid']}",
        f"tokenizer.blocks_per_group={shape['n_blk_per_group']}",
    )
    reference = np.load(GOLDEN / "mim" / "reference.npz")
    tokenizer = load_tokenizer(make_config(*settings).tokenizer, str(DALLE), kind="best")
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
        load_tokenizer(make_config(*settings).tokenizer, str(DALLE), kind="best")


def test_weights_of_something_else_are_no_tokenizer() -> None:
    with pytest.raises(UserError, match="holds no visual tokenizer"):
        load_tokenizer(make_config().tokenizer, str(GOLDEN / "mim" / "official.pth"), kind="best")
