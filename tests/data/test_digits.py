from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from beit_exp.data.listing import list_classes


def test_digits_are_1437_and_360_real_images(digits: Path) -> None:
    train, val = list_classes(digits / "train"), list_classes(digits / "val")
    assert (len(train), len(val), train.classes) == (1437, 360, [str(digit) for digit in range(10)])
    assert np.asarray(Image.open(val.paths[0])).shape == (8, 8)
