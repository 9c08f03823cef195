"""RandAugment as the recipe has it: timm's policy strings and operations, on Pillow images.

Sources: Cubuk et al., RandAugment (arXiv 1909.13719); timm data/auto_augment.py, from which BEiT
takes it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from beit_exp.config.augment_policy import MAX_LEVEL, Policy
from beit_exp.config.schema import DrawnFilter
from beit_exp.data.filters import draw_resampling
from beit_exp.data.resample import slide

APPLY_PROBABILITY = 0.5
Color = tuple[int, int, int]


PLAIN = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "SolarizeAdd",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
GRADED = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")


def operations(policy: Policy) -> tuple[str, ...]:
    """The fifteen operations that a policy draws from."""
    ending = "Increasing" if policy.increasing else ""
    return (*PLAIN, *(f"{name}{ending}" for name in GRADED))


def rand_augment(
    image: Image.Image,
    policy: Policy,
    *,
    rng: np.random.Generator,
    fill: Color,
    interpolation: DrawnFilter,
) -> Image.Image:
    """Apply `num_operations` operations, drawn with replacement, each with probability 0.5.

    The magnitude's noise, the sign and, where it is `random`, the interpolation are drawn anew for
    every application.
    """
    for name in rng.choice(operations(policy), policy.num_operations):
        if rng.random() > APPLY_PROBABILITY:
            continue
        magnitude = policy.magnitude
        if np.isinf(policy.magnitude_std):
            magnitude = rng.uniform(0, policy.magnitude)
        elif policy.magnitude_std > 0:
            magnitude = rng.normal(policy.magnitude, policy.magnitude_std)
        magnitude = float(np.clip(magnitude, 0, policy.max_magnitude))
        sign = -1.0 if rng.random() > 0.5 else 1.0
        image = apply_operation(
            image,
            str(name),
            magnitude,
            sign=sign,
            fill=fill,
            interpolation=draw_resampling(interpolation, rng=rng),
        )
    return image


def apply_operation(
    image: Image.Image,
    name: str,
    magnitude: float,
    *,
    sign: float,
    fill: Color,
    interpolation: Image.Resampling,
) -> Image.Image:
    """One operation at a magnitude from 0 to 10; `sign` turns those that have a direction."""
    level = magnitude / MAX_LEVEL

    def affine(*matrix: float) -> Image.Image:
        if interpolation == Image.Resampling.BICUBIC:
            return slide(image, matrix, fill=fill)
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, resample=interpolation, fillcolor=fill
        )

    match name:
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Invert":
            return ImageOps.invert(image)
        case "Rotate":
            return image.rotate(sign * 30 * level, resample=interpolation, fillcolor=fill)
        case "Posterize":
            return posterize(image, int(4 * level))
        case "PosterizeIncreasing":
            return posterize(image, 4 - int(4 * level))
        case "Solarize":
            return ImageOps.solarize(image, min(256, int(256 * level)))
        case "SolarizeIncreasing":
            return ImageOps.solarize(image, 256 - min(256, int(256 * level)))
        case "SolarizeAdd":
            added = min(128, int(110 * level))
            return image.point(
                [min(255, value + added) if value < 128 else value for value in range(256)] * 3
            )
        case "ShearX":
            return affine(1, sign * 0.3 * level, 0, 0, 1, 0)
        case "ShearY":
            return affine(1, 0, 0, sign * 0.3 * level, 1, 0)
        case "TranslateXRel":
            return affine(1, 0, sign * 0.45 * level * image.width, 0, 1, 0)
        case "TranslateYRel":
            return affine(1, 0, 0, 0, 1, sign * 0.45 * level * image.height)
    enhancer = ENHANCERS[name.removesuffix("Increasing")]
    factor = max(0.1, 1 + sign * 0.9 * level) if name.endswith("Increasing") else 0.1 + 1.8 * level
    return enhancer(image).enhance(factor)


ENHANCERS: dict[str, Callable[[Image.Image], ImageEnhance._Enhance]] = {
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Brightness": ImageEnhance.Brightness,
    "Sharpness": ImageEnhance.Sharpness,
}


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the highest `bits` of each channel.

    At 0 bits it is black, which newer Pillows' own function refuses.
    """
    mask = 256 - (1 << (8 - bits))
    return image.point([value & mask for value in range(256)] * 3)
