"""The 1,797 handwritten digits that scikit-learn ships: real images without a download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from beit_exp.storage.files import replacing_folder

VALIDATION_EVERY = 5  # every fifth digit is held out: 360 of 1,797


def write_digits(folder: Path) -> None:
    """Write `train/<digit>/*.png` and `val/<digit>/*.png` (8 x 8, grey), if they are not there.

    The folder appears complete or not at all, whoever else writes it.
    """
    if _is_written(folder):
        return
    from sklearn.datasets import load_digits  # seconds to import, needed once

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    with replacing_folder(folder, is_whole=_is_written) as temporary:
        for number, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
            split = "val" if number % VALIDATION_EVERY == 0 else "train"
            target = temporary / split / str(label)
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(target / f"{number:04d}.png")


def _is_written(folder: Path) -> bool:
    return (folder / "val").is_dir()
