"""Resizing against Pillow, bit for bit."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image
from settings import GOLDEN

from beit_exp.data.decoding import load_image, pixels_of
from beit_exp.data.resample import resize
from beit_exp.data.transforms import draw_crop

FILTERS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image with edges as hard as they come, so that overshoot is cut off too."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(np.where(pixels > 128, 255, pixels).astype(np.uint8))


def pillows(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """The two passes in the order of all Pillows before 13, whichever is installed."""
    return np.asarray(image.resize((size[0], image.height), resample).resize(size, resample))


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((97, 61), (32, 40)),
        ((20, 33), (64, 48)),
        ((50, 20), (20, 50)),
        ((8, 8), (32, 32)),
        ((3, 1), (7, 5)),
    ],
)
def test_a_resized_image_is_pillows(
    old: tuple[int, int], new: tuple[int, int], resample: Image.Resampling
) -> None:
    image = noise(*old)
    found = resize(pixels_of(image), new, resample)[..., :3]
    np.testing.assert_array_equal(found, pillows(image, new, resample))


def test_crops_of_photographs_are_those_of_pillow_12_whichever_is_installed() -> None:
    rng = np.random.default_rng(0)
    photographs = [load_image(path) for path in sorted((GOLDEN / "eval").glob("*.jpg"))]
    differences = []
    for number in range(30):
        image = photographs[number % len(photographs)]
        box = draw_crop(*image.size, [0.08, 1.0], [3 / 4, 4 / 3], rng=rng)
        size, bicubic, crop = (224, 224), Image.Resampling.BICUBIC, image.crop(box)
        found = resize(pixels_of(image), size, bicubic, box=box)[..., :3]
        np.testing.assert_array_equal(found, pillows(crop, size, bicubic))
        installed = np.asarray(crop.resize(size, bicubic))
        differences.append(np.abs(found.astype(int) - installed.astype(int)).max())
    is_13 = int(PIL.__version__.partition(".")[0]) >= 13
    assert (np.count_nonzero(differences), max(differences)) == ((3, 8) if is_13 else (0, 0))


@pytest.mark.parametrize("resample", FILTERS)
def test_a_window_is_cut_out_of_the_whole(resample: Image.Resampling) -> None:
    image = noise(90, 70)
    found = resize(pixels_of(image), (45, 37), resample, window=(5, 3, 32, 30))[..., :3]
    np.testing.assert_array_equal(found, pillows(image, (45, 37), resample)[3:33, 5:37])


@pytest.mark.parametrize("resample", FILTERS)
def test_a_window_of_a_box_sees_nothing_around_the_box(resample: Image.Resampling) -> None:
    image, box = noise(90, 70), (11, 7, 71, 60)
    found = resize(pixels_of(image), (45, 37), resample, box=box, window=(5, 3, 32, 30))[..., :3]
    whole = pillows(image.crop(box), (45, 37), resample)
    np.testing.assert_array_equal(found, whole[3:33, 5:37])
