"""Pillow's resampling filters, by the names that settings have for them."""

from __future__ import annotations

import numpy as np
from PIL import Image
from typing_extensions import assert_never

from beit_exp.config.schema import DrawnFilter, Filter
from beit_exp.config.tokenizing import TokenizerFilter


def resampling(name: Filter | TokenizerFilter) -> Image.Resampling:
    """Pillow's filter of a name."""
    match name:
        case "bilinear":
            return Image.Resampling.BILINEAR
        case "bicubic":
            return Image.Resampling.BICUBIC
        case "lanczos":
            return Image.Resampling.LANCZOS
        case _:
            assert_never(name)


def draw_resampling(interpolation: DrawnFilter, *, rng: np.random.Generator) -> Image.Resampling:
    """The filter that a setting names; `random` draws one of two."""
    match interpolation:
        case "random":
            return (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[rng.choice(2)]
        case "bilinear" | "bicubic":
            return resampling(interpolation)
        case _:
            assert_never(interpolation)
