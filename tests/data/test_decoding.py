from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from settings import GOLDEN

from beit_exp.data.decoding import load_image, load_pixels
from beit_exp.errors import UserError


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "LA", "I;16", "1"])
def test_every_colour_mode_is_read_as_rgb(mode: str, photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    if mode == "I;16":
        Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        photo.convert(mode).save(path)
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", photo.size)
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.abs(np.asarray(image).astype(int) - np.asarray(photo)).mean() < 12
    if mode == "I;16":
        assert (np.asarray(image)[..., 0] == np.asarray(photo.convert("L"))).all()


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"not a picture")
    kinds = "BMP, JPEG, PNG, PPM, TIFF, WEBP"
    verdict = f"broken.jpg cannot be read as an image: it is no image of the kinds {kinds}"
    with pytest.raises(UserError, match=verdict):
        load_image(path)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes((GOLDEN / "eval" / "rocket.jpg").read_bytes()[:5000])
    with pytest.raises(UserError, match="cut.jpg cannot be read as an image"):
        load_image(path)


@pytest.mark.parametrize("form", ["plain", "progressive", "grey", "CMYK", "every pixel's colour"])
def test_a_jpeg_has_the_pixels_that_pillow_finds(form: str, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    image = load_image(GOLDEN / "eval" / "rocket.jpg").crop((1, 2, 118, 91))
    image = image.convert({"grey": "L", "CMYK": "CMYK"}.get(form, "RGB"))
    subsampling = 0 if form == "every pixel's colour" else 2
    image.save(path, progressive=form == "progressive", subsampling=subsampling)
    np.testing.assert_array_equal(load_pixels(path)[..., :3], np.asarray(load_image(path)))


def test_a_jpeg_does_not_hold_the_interpreters_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beit_exp.data.decoding.decode", None)  # Pillow's part
    assert load_pixels(GOLDEN / "eval" / "rocket.jpg").shape[2] == 4
