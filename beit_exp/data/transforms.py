"""From an image to a normalised array: the training and the evaluation transform.

They work on Pillow images. The evaluation transform and the random resized crop follow torchvision,
on which the published results rest; resized pixels are those of Pillow 12 and before, whichever is
installed (see `resample.py`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance

from beit_exp.config.augment_policy import parse_policy
from beit_exp.config.schema import AugmentConfig, DatasetConfig
from beit_exp.config.tokenizing import TokenizerFilter
from beit_exp.data.compiled import compiled
from beit_exp.data.erasing import random_erasing
from beit_exp.data.filters import draw_resampling, resampling
from beit_exp.data.randaugment import rand_augment
from beit_exp.data.resample import resize

UNIT = ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])  # mean and std that leave pixels in [0, 1]
CROP_TRIES = 10


class EvalTransform(Protocol):
    """Image -> (3, S, S) float32, in `out` if given."""

    def __call__(self, image: Image.Image, out: np.ndarray | None = None) -> np.ndarray: ...


class TrainTransform(Protocol):
    """Image and generator -> (3, S, S) float32, in `out` if given."""

    def __call__(
        self, image: Image.Image, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray: ...


def make_eval_transform(cfg: DatasetConfig, *, image_size: int) -> EvalTransform:
    """The evaluation's transform: short side to S / crop_pct, centre crop, normalisation."""

    def transform(image: Image.Image, out: np.ndarray | None = None) -> np.ndarray:
        resample = resampling(cfg.interpolation)
        return normalise(
            center_crop(image, image_size, cfg.crop_pct, resample), cfg.mean, cfg.std, out
        )

    return transform


def make_train_transform(
    cfg: AugmentConfig, dataset: DatasetConfig, *, image_size: int
) -> TrainTransform:
    """The training's transform, drawn anew for every image.

    Crop, flip, colour jitter, RandAugment, normalisation, erasing, in that order.
    """
    policy = None if cfg.auto_augment is None else parse_policy(cfg.auto_augment)
    red, green, blue = (min(255, round(255 * mean)) for mean in dataset.mean)

    def transform(
        image: Image.Image, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray:
        if cfg.crop_scale is None:
            image = center_crop(
                image, image_size, dataset.crop_pct, resampling(dataset.interpolation)
            )
        else:
            box = draw_crop(image.width, image.height, cfg.crop_scale, cfg.crop_ratio, rng=rng)
            resample = draw_resampling(cfg.interpolation, rng=rng)
            image = resize(image.crop(box), (image_size, image_size), resample)
        if rng.random() < cfg.hflip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = color_jitter(image, cfg.color_jitter, rng=rng)
        if policy is not None:
            image = rand_augment(
                image, policy, rng=rng, fill=(red, green, blue), interpolation=cfg.interpolation
            )
        array = normalise(image, dataset.mean, dataset.std, out)
        return random_erasing(
            array, rng=rng, probability=cfg.re_prob, mode=cfg.re_mode, max_count=cfg.re_count
        )

    return transform


class ViewsTransform(Protocol):
    """Image and generator, if any -> `view` (3, S, S) and `tokenizer_view` (3, T, T)."""

    def __call__(
        self,
        image: Image.Image,
        rng: np.random.Generator | None,
        view: np.ndarray,
        tokenizer_view: np.ndarray,
    ) -> None: ...


def make_views_transform(
    cfg: AugmentConfig,
    dataset: DatasetConfig,
    *,
    image_size: int,
    tokenizer_size: int,
    interpolation: TokenizerFilter,
) -> ViewsTransform:
    """The pre-training's transform: one crop, (3, S, S) normalised and (3, T, T) in [0, 1].

    The second is for a tokenizer. Colour jitter of the whole image, flip, crop, in that order;
    without a generator the evaluation's crop alone. Source: unilm/beit datasets.py,
    `DataAugmentationForBEiT`.
    """
    own, other = resampling(dataset.interpolation), resampling(interpolation)

    def transform(
        image: Image.Image,
        rng: np.random.Generator | None,
        view: np.ndarray,
        tokenizer_view: np.ndarray,
    ) -> None:
        if rng is not None:
            image = color_jitter(image, cfg.color_jitter, rng=rng)
            if rng.random() < cfg.hflip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng is None or cfg.crop_scale is None:
            first = center_crop(image, image_size, dataset.crop_pct, own)
            second = center_crop(image, tokenizer_size, dataset.crop_pct, other)
        else:
            image = image.crop(
                draw_crop(image.width, image.height, cfg.crop_scale, cfg.crop_ratio, rng=rng)
            )
            first = resize(
                image, (image_size, image_size), draw_resampling(cfg.interpolation, rng=rng)
            )
            second = resize(image, (tokenizer_size, tokenizer_size), other)
        normalise(first, dataset.mean, dataset.std, view)
        normalise(second, *UNIT, tokenizer_view)

    return transform


def color_jitter(image: Image.Image, strength: float, *, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation, in random order, each times 1 ± up to `strength`.

    Source: torchvision, `ColorJitter(strength, strength, strength)`.
    """
    if strength == 0:
        return image
    factors = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3)
    for number in rng.permutation(3):
        enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[number]
        image = enhance(image).enhance(factors[number])
    return image


def center_crop(
    image: Image.Image, image_size: int, crop_pct: float, resample: Image.Resampling
) -> Image.Image:
    """Resize so that the short side is S / crop_pct, then cut S x S out of the middle."""
    short = int(image_size / crop_pct)
    width, height = image.size
    is_tall = width <= height
    size = (short, int(short * height / width)) if is_tall else (int(short * width / height), short)
    left, top = round((size[0] - image_size) / 2), round((size[1] - image_size) / 2)
    if size == image.size:
        return image.crop((left, top, left + image_size, top + image_size))
    return resize(image, size, resample, window=(left, top, image_size, image_size))


def draw_crop(
    width: int, height: int, scale: list[float], ratio: list[float], *, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random resized crop, in pixels.

    A centre crop if ten draws do not fit. Source: torchvision, `RandomResizedCrop`.
    """
    low, high = np.log(ratio)
    for _ in range(CROP_TRIES):
        area = width * height * rng.uniform(scale[0], scale[1])
        aspect = np.exp(rng.uniform(low, high))
        crop_width, crop_height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height, endpoint=True))
            left = int(rng.integers(0, width - crop_width, endpoint=True))
            return left, top, left + crop_width, top + crop_height
    crop_width, crop_height = width, height
    if width / height < ratio[0]:
        crop_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        crop_width = round(height * ratio[1])
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def normalise(
    image: Image.Image, mean: list[float], std: list[float], out: np.ndarray | None = None
) -> np.ndarray:
    """(S, S) RGB -> (3, S, S) float32, in `out` if given.

    That is (pixel / 255 - mean) / std, per channel.
    """
    scale = 1 / (255 * np.array(std, dtype=np.float32))
    offset = np.array(mean, dtype=np.float32) / np.array(std, dtype=np.float32)
    pixels_HWC = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)
    if out is None:
        out = np.empty((3, image.height, image.width), np.float32)
    _scale_and_shift(pixels_HWC, scale, offset, out)
    return out


@compiled
def _scale_and_shift(
    pixels_HWC: np.ndarray, scale_C: np.ndarray, offset_C: np.ndarray, out_CHW: np.ndarray
) -> None:
    height, width, channels = pixels_HWC.shape
    for y in range(height):
        for channel in range(channels):
            scale, offset = scale_C[channel], offset_C[channel]
            for x in range(width):
                out_CHW[channel, y, x] = np.float32(pixels_HWC[y, x, channel]) * scale - offset
