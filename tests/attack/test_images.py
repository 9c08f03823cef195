"""Pictures made to harm: many pixels in few bytes, and corrupt files of rare formats."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from settings import GOLDEN

from attack.mutation import mutate
from beit_exp.data.decoding import load_image, load_pixels
from beit_exp.errors import UserError

MUTANTS = 150


def test_many_pixels_in_few_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (14_000, 14_000)).save(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="bomb.png cannot be read as an image"):
        load_image(path)


@pytest.mark.parametrize(
    "size", [(14_000, 14_000), (1 << 31, 2), (0, 0), (14_000, (1 << 32) - 14_000)]
)
def test_a_header_alone_that_claims_many_pixels_is_refused(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "claim.bmp"
    Image.new("RGB", (2, 2)).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = b"".join((side % (1 << 32)).to_bytes(4, "little") for side in size)
    path.write_bytes(content)
    with pytest.raises(UserError, match="claim.bmp cannot be read as an image"):
        load_image(path)


@pytest.mark.parametrize("kind", ["DDS", "AVIF", "GIF", "ICO", "TGA", "PCX", "JPEG2000"])
def test_a_corrupt_file_of_a_rare_format_is_an_image_or_refused(kind: str, tmp_path: Path) -> None:
    """Under the name of another, for the bytes say what a file is."""
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file, path, rng = io.BytesIO(), tmp_path / "i.png", random.Random(0)
    Image.fromarray(pixels).save(file, kind)
    for _ in range(MUTANTS):
        path.write_bytes(mutate(file.getvalue(), rng))
        try:
            assert load_image(path).mode == "RGB"
        except UserError as error:
            assert "i.png" in str(error)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_damaged_jpeg_is_taken_or_refused_as_by_pillow(
    mode: str, progressive: bool, tmp_path: Path
) -> None:
    image = Image.open(GOLDEN / "eval" / "rocket.jpg").resize((90, 70)).convert(mode)
    file, path, rng = io.BytesIO(), tmp_path / "i.jpg", random.Random(0)
    image.save(file, "JPEG", progressive=progressive)
    verdicts = {"image": 0, "refused": 0}
    for _ in range(MUTANTS):
        path.write_bytes(mutate(file.getvalue(), rng))
        try:
            expected = np.asarray(load_image(path))
        except UserError as error:
            verdicts["refused"] += 1
            with pytest.raises(UserError, match=re.escape(str(error))):
                load_pixels(path)
        else:
            verdicts["image"] += 1
            np.testing.assert_array_equal(load_pixels(path)[..., :3], expected)
    assert min(verdicts.values()) > MUTANTS // 10


def test_a_jpeg_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jpg"
    Image.new("L", (14_000, 14_000)).save(path)
    with pytest.raises(UserError, match="bomb.jpg cannot be read as an image: .* pixels"):
        load_pixels(path)
