from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from beit_exp.errors import UserError
from beit_exp.weights.read import read_weights


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"x")
    with pytest.raises(
        UserError,
        match=r"weights are read from .pth, .pt, .bin, .safetensors and .ckpt files alone",
    ):
        read_weights(path)


def test_junk_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "junk.safetensors"
    path.write_bytes(b"junk" * 100)
    with pytest.raises(UserError, match=r"junk.safetensors cannot be read"):
        read_weights(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"blocks.0.attn.q.weight": np.ones((16, 48))}, "is there twice, under two names"),
        ({"blocks.0.attn.k_bias": np.ones(48)}, "k_bias is not zero"),
        ({"blocks.0.norm1.bias": np.full(48, np.nan)}, "hold NaN or infinity, such as blocks.0.n"),
        ({"blocks.1.attn.qkv.weight": np.ones((100, 48))}, "not three matrices in one"),
        ({"blocks.1.attn.qkv.weight": np.ones(())}, "not three matrices in one"),
    ],
)
def test_weights_that_contradict_themselves_are_refused(
    more: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    whole = {"blocks.0.attn.qkv.weight": np.ones((144, 48), np.float32)}
    path = tmp_path / "w.safetensors"
    save_file(whole | {name: array.astype(np.float32) for name, array in more.items()}, path)
    with pytest.raises(UserError, match=said):
        read_weights(path)


def test_a_safetensors_file_of_types_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = b'{"blocks.0.x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UserError, match="w.safetensors is refused: "):
        read_weights(path)
