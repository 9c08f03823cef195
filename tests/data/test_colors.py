"""Operations on colours against Pillow, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from settings import GOLDEN

from beit_exp.data import colors
from beit_exp.data.decoding import load_image, pixels_of


def draw(low: int, high: int, height: int = 33, width: int = 47) -> Image.Image:
    """Noise of the levels from `low` to `high` - 1."""
    pixels = np.random.default_rng(0).integers(low, high, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


IMAGES = {
    "photograph": load_image(GOLDEN / "eval" / "rocket.jpg"),
    "noise": draw(0, 256),
    "few levels": draw(100, 103),
    "one colour": Image.new("RGB", (8, 8), (3, 200, 77)),
    "one pixel": Image.new("RGB", (1, 1), (3, 200, 77)),
    "two rows": draw(0, 256, height=2),
    "black and white": draw(0, 256).point(lambda level: 255 * (level > 128)),
}
FACTORS = [0.0, 0.1, 0.123, 0.9, 1.0, 1.3333, 1.9, 2.5]


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> Image.Image:
    return IMAGES[request.param]


def check(found: np.ndarray, expected: Image.Image) -> None:
    np.testing.assert_array_equal(found[..., :3], np.asarray(expected))


def test_stretched_and_equalized_channels_are_pillows(image: Image.Image) -> None:
    check(colors.autocontrast(pixels_of(image)), ImageOps.autocontrast(image))
    check(colors.equalize(pixels_of(image)), ImageOps.equalize(image))


def test_a_negative_is_pillows_from_any_level_on(image: Image.Image) -> None:
    check(colors.solarize(pixels_of(image), 0), ImageOps.invert(image))
    for threshold in (1, 100, 255, 256):
        check(colors.solarize(pixels_of(image), threshold), ImageOps.solarize(image, threshold))


def test_fewer_bits_are_pillows_and_none_are_black(image: Image.Image) -> None:
    for bits in range(1, 9):
        check(colors.posterize(pixels_of(image), bits), ImageOps.posterize(image, bits))
    assert not colors.posterize(pixels_of(image), 0)[..., :3].any()


def test_the_dark_half_of_the_levels_is_made_brighter() -> None:
    levels = pixels_of(Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert("RGB"))
    found = colors.solarize_add(levels, 100)[0, :, 0].astype(int)
    assert found.tolist() == [min(255, level + 100 * (level < 128)) for level in range(256)]


@pytest.mark.parametrize("factor", FACTORS)
def test_enhanced_images_are_pillows(image: Image.Image, factor: float) -> None:
    pixels = pixels_of(image)
    check(colors.brightness(pixels, factor), ImageEnhance.Brightness(image).enhance(factor))
    check(colors.contrast(pixels, factor), ImageEnhance.Contrast(image).enhance(factor))
    check(colors.saturation(pixels, factor), ImageEnhance.Color(image).enhance(factor))
    check(colors.sharpness(pixels, factor), ImageEnhance.Sharpness(image).enhance(factor))


def test_a_mirrored_image_is_pillows(image: Image.Image) -> None:
    check(colors.mirror(pixels_of(image)), ImageOps.mirror(image))
