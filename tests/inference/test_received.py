from __future__ import annotations

import io
import os
import struct
import traceback
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from beit_exp.errors import UserError
from beit_exp.inference import received
from beit_exp.inference.received import FOLDER, REFUSAL, images_folder, receive_image


def grey_png(width: int, height: int) -> bytes:
    """A black and white PNG, an eight-thousandth of its pixels in bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(height * (1 + (width + 7) // 8)))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


PNG = grey_png(8, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that clients may name files of, and what they may not in it and beside it."""
    inside = tmp_path / "images"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "image.png").write_bytes(PNG)
    (inside / "text.png").write_bytes(b"root:x:0:0")
    (inside / "empty.png").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "images_too").mkdir()
    (tmp_path / "images_too" / "image.png").write_bytes(PNG)
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "alias.png").symlink_to(inside / "deep" / "image.png")
    os.mkfifo(inside / "fifo.png")
    return inside


REFUSED: dict[str, dict[str, Any]] = {
    "a file of the system": {"path": "/etc/passwd"},
    "a missing file": {"path": "none.png"},
    "a missing file of the system": {"path": "/etc/none"},
    "a file beside the folder": {"path": "../secret.png"},
    "a folder of the same beginning": {"path": "../images_too/image.png"},
    "a missing file beside the folder": {"path": "../none.png"},
    "a link that leads out": {"path": "link.png"},
    "a way out through a link": {"path": "folder/secret.png"},
    "a FIFO": {"path": "fifo.png"},
    "a device": {"path": "/dev/zero"},
    "a folder": {"path": "deep"},
    "the folder itself": {"path": "."},
    "no image": {"path": "text.png"},
    "an empty file": {"path": "empty.png"},
    "a name that no file has": {"path": "a\0b"},
    "a name that is too long": {"path": "a" * 5000},
    "a member of a tar": {"path": "images.tar/a.png"},
    "bytes that are no image": {"image": b"root:x:0:0"},
    "half an image": {"image": PNG[:40]},
    "no bytes": {"image": b""},
    "a program": {"image": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"},
    "many pixels in few bytes": {"image": grey_png(13_000, 13_000)},
    "a text": {"image": "image.png"},
    "both": {"image": PNG, "path": "deep/image.png"},
    "neither": {"image": None, "path": float("nan")},
    "another column": {"file": "deep/image.png"},
}


def answer(row: dict[str, Any], folder: Path | None) -> str:
    """All that a client gets to see, which a server tells with the lines of code."""
    try:
        receive_image(row, folder)
    except UserError:
        return traceback.format_exc().partition("receive_image(row, folder)")[2]
    return "accepted"


@pytest.mark.parametrize("case", REFUSED)
def test_all_that_is_refused_is_refused_in_the_same_words(case: str, folder: Path) -> None:
    first = answer({}, folder)
    assert REFUSAL in first
    assert answer(REFUSED[case], folder) == first


def test_what_names_a_file_is_refused_where_no_folder_is_given(folder: Path) -> None:
    assert REFUSAL in answer({"path": "deep/image.png"}, None)
    assert answer({"path": str(folder / "deep" / "image.png")}, None) == answer({}, None)


@pytest.mark.parametrize("name", ["deep/image.png", "alias.png", "deep/../alias.png"])
def test_a_file_of_the_folder_is_read_like_its_bytes(name: str, folder: Path) -> None:
    sent = receive_image({"image": PNG, "path": None}, None)
    named = receive_image({"path": name}, folder)
    whole = receive_image({"path": str(folder / name)}, folder)
    assert sent.shape == (8, 8, 4)
    assert np.array_equal(sent, named) and np.array_equal(sent, whole)


def test_bytes_and_pixels_are_bounded_and_the_bound_is_allowed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "LARGEST_BYTES", len(PNG))
    monkeypatch.setattr(received, "LARGEST_PIXELS", 64)
    assert receive_image({"image": PNG}, None).shape == (8, 8, 4)
    assert receive_image({"path": "deep/image.png"}, folder).shape == (8, 8, 4)
    assert answer({"image": grey_png(13, 5)}, None) == answer({}, None)
    monkeypatch.setattr(received, "LARGEST_BYTES", len(PNG) - 1)
    assert answer({"image": PNG}, None) == answer({}, None)
    assert answer({"path": "deep/image.png"}, folder) == answer({}, None)


@pytest.mark.parametrize("kind", received.FORMATS)
def test_every_format_that_is_told_is_taken(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (1, 2, 3)).save(file, format=kind)
    assert receive_image({"image": file.getvalue()}, None).shape == (7, 9, 4)


def test_the_folder_is_told_by_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    assert images_folder() is None
    monkeypatch.setenv(FOLDER, str(folder / "folder" / "images"))
    assert images_folder() == folder
    monkeypatch.setenv(FOLDER, str(folder / "text.png"))
    with pytest.raises(UserError, match=r"BEIT_EXP_IMAGES = '.*text.png': must be a folder"):
        images_folder()
