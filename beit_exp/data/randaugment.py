"""RandAugment as the recipe has it: timm's policy strings and operations, on (H, W, 4) bytes.

Sources: Cubuk et al., RandAugment (arXiv 1909.13719); timm data/auto_augment.py, from which BEiT
takes it.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image

from beit_exp.config.augment_policy import MAX_LEVEL, Policy
from beit_exp.config.schema import DrawnFilter
from beit_exp.data import colors
from beit_exp.data.affine import Color, rotation, transform
from beit_exp.data.filters import draw_resampling

APPLY_PROBABILITY = 0.5

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


@cache
def operations(policy: Policy) -> tuple[str, ...]:
    """The fifteen operations that a policy draws from."""
    ending = "Increasing" if policy.increasing else ""
    return (*PLAIN, *(f"{name}{ending}" for name in GRADED))


def rand_augment(
    pixels_HWC: np.ndarray,
    policy: Policy,
    *,
    rng: np.random.Generator,
    fill: Color,
    interpolation: DrawnFilter,
) -> np.ndarray:
    """Apply `num_operations` operations, drawn with replacement, each with probability 0.5.

    The magnitude's noise, the sign and, where it is `random`, the interpolation are drawn anew for
    every application.
    """
    names = operations(policy)
    drawn = [names[rng.integers(len(names))] for _ in range(policy.num_operations)]
    for name in drawn:
        if rng.random() > APPLY_PROBABILITY:
            continue
        magnitude = policy.magnitude
        if math.isinf(policy.magnitude_std):
            magnitude = rng.uniform(0, policy.magnitude)
        elif policy.magnitude_std > 0:
            magnitude += policy.magnitude_std * rng.standard_normal()
        magnitude = min(max(magnitude, 0.0), policy.max_magnitude)
        sign = -1.0 if rng.random() > 0.5 else 1.0
        pixels_HWC = apply_operation(
            pixels_HWC,
            name,
            magnitude,
            sign=sign,
            fill=fill,
            interpolation=draw_resampling(interpolation, rng=rng),
        )
    return pixels_HWC


def apply_operation(
    pixels_HWC: np.ndarray,
    name: str,
    magnitude: float,
    *,
    sign: float,
    fill: Color,
    interpolation: Image.Resampling,
) -> np.ndarray:
    """One operation at a magnitude from 0 to 10; `sign` turns those that have a direction."""
    level = magnitude / MAX_LEVEL
    height, width, _ = pixels_HWC.shape

    def affine(a: float, b: float, c: float, d: float, e: float, f: float) -> np.ndarray:
        return transform(pixels_HWC, (a, b, c, d, e, f), interpolation, fill=fill)

    match name:
        case "AutoContrast":
            return colors.autocontrast(pixels_HWC)
        case "Equalize":
            return colors.equalize(pixels_HWC)
        case "Invert":
            return colors.solarize(pixels_HWC, 0)
        case "Rotate":
            return affine(*rotation(width, height, sign * 30 * level))
        case "Posterize":
            return colors.posterize(pixels_HWC, int(4 * level))
        case "PosterizeIncreasing":
            return colors.posterize(pixels_HWC, 4 - int(4 * level))
        case "Solarize":
            return colors.solarize(pixels_HWC, min(256, int(256 * level)))
        case "SolarizeIncreasing":
            return colors.solarize(pixels_HWC, 256 - min(256, int(256 * level)))
        case "SolarizeAdd":
            return colors.solarize_add(pixels_HWC, min(128, int(110 * level)))
        case "ShearX":
            return affine(1, sign * 0.3 * level, 0, 0, 1, 0)
        case "ShearY":
            return affine(1, 0, 0, sign * 0.3 * level, 1, 0)
        case "TranslateXRel":
            return affine(1, 0, sign * 0.45 * level * width, 0, 1, 0)
        case "TranslateYRel":
            return affine(1, 0, 0, 0, 1, sign * 0.45 * level * height)
    factor = max(0.1, 1 + sign * 0.9 * level) if name.endswith("Increasing") else 0.1 + 1.8 * level
    match name.removesuffix("Increasing"):
        case "Color":
            return colors.saturation(pixels_HWC, factor)
        case "Contrast":
            return colors.contrast(pixels_HWC, factor)
        case "Brightness":
            return colors.brightness(pixels_HWC, factor)
        case "Sharpness":
            return colors.sharpness(pixels_HWC, factor)
    raise ValueError(f"{name} is none of RandAugment's operations")
