"""The 1,797 handwritten digits that scikit-learn ships: real images without a download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

VALIDATION_EVERY = 5  # every fifth digit is held out: 360 of 1,797


def write_digits(folder: Path) -> None:
    """Write `train/<digit>/*.png` and `val/<digit>/*.png` (8 x 8, grey), if they are not there.

    The folder appears complete or not at all, whoever else writes it.
    """
    if (folder / "val").is_dir():
        return
    from sklearn.datasets import load_digits  # seconds to import, needed once

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for number, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
            split = "val" if number % VALIDATION_EVERY == 0 else "train"
            target = temporary / split / str(label)
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(target / f"{number:04d}.png")
        temporary.chmod(0o755)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not (folder / "val").is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
