from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from settings import OFFICIAL

from beit_exp.errors import UserError
from beit_exp.weights.read import read_weights


def test_official_file_is_read_without_torch(official: dict[str, np.ndarray]) -> None:
    assert official["blocks.0.attn.qkv.weight"].shape == (144, 48)
    assert all(
        array.dtype == np.float32 for name, array in official.items() if not name.endswith("index")
    )


def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_here"),)

    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Evil()}))
    with pytest.raises(UserError, match=r"evil.pth is refused: it asks to run posix.mkdir"):
        read_weights(path)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    content = OFFICIAL.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut.pth is truncated, or not the zip format"):
        read_weights(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    text = io.BytesIO()
    with zipfile.ZipFile(OFFICIAL) as source, zipfile.ZipFile(text, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[: len(data) // 2] if name.endswith("/data/0") else data)
    path = tmp_path / "short.pth"
    path.write_bytes(text.getvalue())
    with pytest.raises(UserError, match=r"short.pth is refused: storage 0 holds"):
        read_weights(path)


def stored(description: bytes, **storages: bytes) -> bytes:
    """A zip archive as `torch.save` lays it out."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", description)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key.removeprefix('s')}", content)
    return file.getvalue()


def float_tensor(key: str, length: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Opcodes of a tensor of `length` stored numbers."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + v.to_bytes(4, "little") for v in values) + b"t"

    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text(key)
        + text("cpu")
        + (b"J" + length.to_bytes(4, "little") + b"tQK\x00")
        + (numbers(size) + numbers(stride) + b"\x89}tR")
    )


def state_dict(*tensors: bytes) -> bytes:
    names = [f"blocks.{number}" for number in range(len(tensors))]
    pairs = (
        b"X" + len(name).to_bytes(4, "little") + name.encode() + tensor
        for name, tensor in zip(names, tensors, strict=True)
    )
    return b"\x80\x02}(" + b"".join(pairs) + b"u."


EIGHT = np.arange(2, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([float_tensor("0", 2, (3,), (1,))], "reaches beyond its storage"),
        ([float_tensor("0", 2, (2,), (2,))], "reaches beyond its storage"),
        # One number, seen two thousand million times
        ([float_tensor("0", 2, (1 << 30, 2), (0, 0))], "reaches beyond its storage"),
        ([float_tensor("0", 2, (1 << 30,) * 9, (1,) * 9)], "reaches beyond its storage"),
        ([float_tensor("8", 9999, (9999,), (1,))] * 3, "its tensors hold more than 2 times the"),
        ([float_tensor("1", 2, (2,), (1,))], "There is no item named 'archive/data/1'"),
    ],
)
def test_tensors_hold_what_the_file_holds(tensors: list[bytes], said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(stored(state_dict(*tensors), s0=EIGHT, s8=bytes(4 * 9999)))
    with pytest.raises(UserError, match=said):
        read_weights(path)


def test_a_dimension_of_one_may_have_any_stride(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(stored(state_dict(float_tensor("0", 2, (1, 2), (1 << 30, 1))), s0=EIGHT))
    assert next(iter(read_weights(path).values())).tolist() == [[0.0, 1.0]]


def test_compressed_and_encrypted_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))  # a thousand times its size
    with pytest.raises(UserError, match="is compressed"):
        read_weights(path)
    content = bytearray(stored(state_dict(float_tensor("0", 2, (2,), (1,))), s0=EIGHT))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is encrypted"):
        read_weights(path)
