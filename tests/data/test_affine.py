"""Affine transforms against Pillow, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from beit_exp.data.affine import rotation, transform
from beit_exp.data.decoding import pixels_of

FILL = (124, 116, 104)
FILTERS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    """Edges as hard as they come, so that overshoot is cut off too."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 61, 3))
    return Image.fromarray(np.where(pixels > 128, 255, pixels).astype(np.uint8))


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0.27, 0, 0, 1, 0),
        (1, -0.3, 0, 0, 1, 0),
        (1, 0, 33.37, 0, 1, 0),
        (1, 0, -20.25, 0, 1, 0),
        (1, 0, 0, 0.2, 1, 0),
        (1, 0, 0, -0.27, 1, 0),
        (1, 0, 0, 0, 1, 17.7),
        (1, 0, 0, 0, 1, 200),
        (1, 0, 0, 0, 1, 0),
        (0.9, 0.3, -4.7, -0.2, 1.1, 3.3),
    ],
)
def test_a_transformed_image_is_pillows(
    matrix: tuple[float, ...], resample: Image.Resampling, noise: Image.Image
) -> None:
    expected = noise.transform(
        noise.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=FILL
    )
    found = transform(pixels_of(noise), matrix, resample, fill=FILL)[..., :3]
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("degrees", [27.3, -27.3, 30, 1e-3, 0, -90, 180])
def test_a_turned_image_is_pillows(
    degrees: float, resample: Image.Resampling, noise: Image.Image
) -> None:
    expected = noise.rotate(degrees, resample=resample, fillcolor=FILL)
    matrix = rotation(*noise.size, degrees)
    found = transform(pixels_of(noise), matrix, resample, fill=FILL)[..., :3]
    np.testing.assert_array_equal(found, np.asarray(expected))
