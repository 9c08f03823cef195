from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from settings import GOLDEN

from beit_exp.data.decoding import load_image
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
