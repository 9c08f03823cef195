"""Random erasing of a normalised image.

Sources: Zhong et al., Random Erasing Data Augmentation (arXiv 1708.04896); timm
data/random_erasing.py.
"""

from __future__ import annotations

import numpy as np

MIN_AREA, MAX_AREA = 0.02, 1 / 3
MIN_ASPECT = 0.3
TRIES = 10


def random_erasing(
    image_CHW: np.ndarray, *, rng: np.random.Generator, probability: float, mode: str, count: int
) -> np.ndarray:
    """With `probability`, overwrite `count` boxes that share 2 to 33 % of the area; changes
    `image_CHW` itself.

    `pixel` fills with N(0, 1) per element, `rand` with N(0, 1) per channel, `const` with 0: all
    three in the units of the normalised image, so erasing comes after normalisation.
    """
    if rng.random() > probability:
        return image_CHW
    channels, height, width = image_CHW.shape
    for _ in range(count):
        box = draw_box(height, width, rng=rng, count=count)
        if box is None:
            continue
        top, left, box_height, box_width = box
        shape = {"pixel": (channels, box_height, box_width), "rand": (channels, 1, 1), "const": ()}[
            mode
        ]
        value = np.float32(0) if mode == "const" else rng.standard_normal(shape, dtype=np.float32)
        image_CHW[:, top : top + box_height, left : left + box_width] = value
    return image_CHW


def draw_box(
    height: int, width: int, *, rng: np.random.Generator, count: int
) -> tuple[int, int, int, int] | None:
    """(top, left, height, width) of a box smaller than the image both ways, or None if ten draws
    give none.
    """
    limit = np.log(1 / MIN_ASPECT)
    for _ in range(TRIES):
        area = rng.uniform(MIN_AREA, MAX_AREA) * height * width / count
        aspect = np.exp(rng.uniform(-limit, limit))
        box_height, box_width = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if box_height < height and box_width < width:
            top = int(rng.integers(0, height - box_height, endpoint=True))
            left = int(rng.integers(0, width - box_width, endpoint=True))
            return top, left, box_height, box_width
    return None
