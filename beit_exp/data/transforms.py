"""From an image to a normalised array: the training and the evaluation transform.

They work on (H, W, 4) bytes, the fourth of each pixel unused. The evaluation transform and the
random resized crop follow torchvision, on which the published results rest; resized pixels are
those of Pillow 12 and before, whichever is installed (see `resample.py`).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from PIL import Image

from beit_exp.config.augment_policy import parse_policy
from beit_exp.config.schema import AugmentConfig, DatasetConfig
from beit_exp.config.tokenizing import TokenizerFilter
from beit_exp.data import colors
from beit_exp.data.compiled import compiled
from beit_exp.data.erasing import random_erasing
from beit_exp.data.filters import draw_resampling, resampling
from beit_exp.data.randaugment import rand_augment
from beit_exp.data.resample import resize

CROP_TRIES = 10


class EvalTransform(Protocol):
    """Pixels -> (3, S, S) float32, in `out` if given."""

    def __call__(self, pixels_HWC: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...


class TrainTransform(Protocol):
    """Pixels and generator -> (3, S, S) float32, in `out` if given."""

    def __call__(
        self, pixels_HWC: np.ndarray, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray: ...


def make_eval_transform(cfg: DatasetConfig, *, image_size: int) -> EvalTransform:
    """The evaluation's transform: short side to S / crop_pct, centre crop, normalisation."""

    resample = resampling(cfg.interpolation)
    mean, std = np.array(cfg.mean, np.float32), np.array(cfg.std, np.float32)

    def transform(pixels_HWC: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return normalise(
            center_crop(pixels_HWC, image_size, cfg.crop_pct, resample), mean, std, out
        )

    return transform


def make_train_transform(
    cfg: AugmentConfig, dataset: DatasetConfig, *, image_size: int
) -> TrainTransform:
    """The training's transform, drawn anew for every image.

    Crop, flip, colour jitter, RandAugment, normalisation, erasing, in that order.
    """
    policy = None if cfg.auto_augment is None else parse_policy(cfg.auto_augment)
    red, green, blue = (min(255, round(255 * level)) for level in dataset.mean)
    mean, std = np.array(dataset.mean, np.float32), np.array(dataset.std, np.float32)

    def transform(
        pixels_HWC: np.ndarray, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray:
        if cfg.crop_scale is None:
            pixels_HWC = center_crop(
                pixels_HWC, image_size, dataset.crop_pct, resampling(dataset.interpolation)
            )
        else:
            height, width, _ = pixels_HWC.shape
            box = draw_crop(width, height, cfg.crop_scale, cfg.crop_ratio, rng=rng)
            resample = draw_resampling(cfg.interpolation, rng=rng)
            pixels_HWC = resize(pixels_HWC, (image_size, image_size), resample, box=box)
        if rng.random() < cfg.hflip:
            pixels_HWC = colors.mirror(pixels_HWC)
        pixels_HWC = color_jitter(pixels_HWC, cfg.color_jitter, rng=rng)
        if policy is not None:
            pixels_HWC = rand_augment(
                pixels_HWC,
                policy,
                rng=rng,
                fill=(red, green, blue),
                interpolation=cfg.interpolation,
            )
        array = normalise(pixels_HWC, mean, std, out)
        return random_erasing(
            array, rng=rng, probability=cfg.re_prob, mode=cfg.re_mode, max_count=cfg.re_count
        )

    return transform


class ViewsTransform(Protocol):
    """Pixels and generator, if any -> `view` (3, S, S) and `tokenizer_view` (3, T, T)."""

    def __call__(
        self,
        pixels_HWC: np.ndarray,
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
    mean, std = np.array(dataset.mean, np.float32), np.array(dataset.std, np.float32)
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)

    def transform(
        pixels_HWC: np.ndarray,
        rng: np.random.Generator | None,
        view: np.ndarray,
        tokenizer_view: np.ndarray,
    ) -> None:
        if rng is not None:
            pixels_HWC = color_jitter(pixels_HWC, cfg.color_jitter, rng=rng)
            if rng.random() < cfg.hflip:
                pixels_HWC = colors.mirror(pixels_HWC)
        if rng is None or cfg.crop_scale is None:
            first = center_crop(pixels_HWC, image_size, dataset.crop_pct, own)
            second = center_crop(pixels_HWC, tokenizer_size, dataset.crop_pct, other)
        else:
            height, width, _ = pixels_HWC.shape
            box = draw_crop(width, height, cfg.crop_scale, cfg.crop_ratio, rng=rng)
            resample = draw_resampling(cfg.interpolation, rng=rng)
            first = resize(pixels_HWC, (image_size, image_size), resample, box=box)
            second = resize(pixels_HWC, (tokenizer_size, tokenizer_size), other, box=box)
        normalise(first, mean, std, view)
        normalise(second, zeros, ones, tokenizer_view)

    return transform


def color_jitter(
    pixels_HWC: np.ndarray, strength: float, *, rng: np.random.Generator
) -> np.ndarray:
    """Brightness, contrast and saturation, in random order, each times 1 ± up to `strength`.

    Source: torchvision, `ColorJitter(strength, strength, strength)`.
    """
    if strength == 0:
        return pixels_HWC
    factors = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3)
    for number in rng.permutation(3):
        enhance = (colors.brightness, colors.contrast, colors.saturation)[number]
        pixels_HWC = enhance(pixels_HWC, factors[number])
    return pixels_HWC


def center_crop(
    pixels_HWC: np.ndarray, image_size: int, crop_pct: float, resample: Image.Resampling
) -> np.ndarray:
    """Resize so that the short side is S / crop_pct, then cut S x S out of the middle."""
    short = int(image_size / crop_pct)
    height, width, _ = pixels_HWC.shape
    is_tall = width <= height
    size = (short, int(short * height / width)) if is_tall else (int(short * width / height), short)
    left, top = round((size[0] - image_size) / 2), round((size[1] - image_size) / 2)
    if size == (width, height):
        return pixels_HWC[top : top + image_size, left : left + image_size].copy()
    return resize(pixels_HWC, size, resample, window=(left, top, image_size, image_size))


def draw_crop(
    width: int, height: int, scale: list[float], ratio: list[float], *, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random resized crop, in pixels.

    A centre crop if ten draws do not fit. Source: torchvision, `RandomResizedCrop`.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(CROP_TRIES):
        area = width * height * (scale[0] + (scale[1] - scale[0]) * rng.random())
        aspect = math.exp(low + (high - low) * rng.random())
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
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
    pixels_HWC: np.ndarray, mean_C: np.ndarray, std_C: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """(S, S, 4) bytes and float32 -> (3, S, S) float32, in `out` if given.

    That is (pixel / 255 - mean) / std, per channel.
    """
    if out is None:
        out = np.empty((3, *pixels_HWC.shape[:2]), np.float32)
    _scale_and_shift(pixels_HWC, mean_C, std_C, out)
    return out


@compiled
def _scale_and_shift(
    pixels_HWC: np.ndarray, mean_C: np.ndarray, std_C: np.ndarray, out_CHW: np.ndarray
) -> None:
    channels, height, width = out_CHW.shape
    for y in range(height):
        for channel in range(channels):
            scale = np.float32(1) / (np.float32(255) * std_C[channel])
            offset = mean_C[channel] / std_C[channel]
            for x in range(width):
                out_CHW[channel, y, x] = np.float32(pixels_HWC[y, x, channel]) * scale - offset
