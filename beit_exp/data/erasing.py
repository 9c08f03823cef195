"""Random erasing of a normalised image.

Sources: Zhong et al., Random Erasing Data Augmentation (arXiv 1708.04896); timm
data/random_erasing.py.
"""

from __future__ import annotations

import math

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import ErasingMode

MIN_AREA, MAX_AREA = 0.02, 1 / 3
MIN_ASPECT = 0.3
TRIES = 10


def random_erasing(
    image_CHW: np.ndarray,
    *,
    rng: np.random.Generator,
    probability: float,
    mode: ErasingMode,
    max_count: int,
) -> np.ndarray:
    """With `probability`, overwrite 1 to `max_count` boxes that share 2 to 33 % of the area.

    How many is drawn for every image. Changes `image_CHW` itself. `pixel` fills with N(0, 1) per
    element, `rand` with N(0, 1) per channel, `const` with 0: all three in the units of the
    normalised image, so erasing comes after normalisation.
    """
    if rng.random() > probability:
        return image_CHW
    channels, height, width = image_CHW.shape
    count = 1 if max_count == 1 else int(rng.integers(1, max_count, endpoint=True))
    for _ in range(count):
        box = draw_box(height, width, rng=rng, count=count)
        if box is None:
            continue
        top, left, box_height, box_width = box
        box_CHW = image_CHW[:, top : top + box_height, left : left + box_width]
        match mode:
            case "pixel":
                box_CHW[:] = rng.standard_normal((channels, box_height, box_width), np.float32)
            case "rand":
                box_CHW[:] = rng.standard_normal((channels, 1, 1), np.float32)
            case "const":
                box_CHW[:] = 0
            case _:
                assert_never(mode)
    return image_CHW


def draw_box(
    height: int, width: int, *, rng: np.random.Generator, count: int
) -> tuple[int, int, int, int] | None:
    """(top, left, height, width) of a box smaller than the image both ways.

    None if ten draws give none.
    """
    limit = math.log(1 / MIN_ASPECT)
    for _ in range(TRIES):
        area = rng.uniform(MIN_AREA, MAX_AREA) * height * width / count
        aspect = math.exp(rng.uniform(-limit, limit))
        box_height, box_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if box_height < height and box_width < width:
            top = int(rng.integers(0, height - box_height, endpoint=True))
            left = int(rng.integers(0, width - box_width, endpoint=True))
            return top, left, box_height, box_width
    return None
