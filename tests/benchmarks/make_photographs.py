"""A folder of made-up photographs, 500 x 375 JPEGs of about 38 KB: python make_photographs.py
FOLDER [COUNT]

Their spectrum falls as 1/f, as that of photographs does, so that decoding them takes as long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, QUALITY = 500, 375, 76
CLASSES = 10


def photograph(rng: np.random.Generator) -> Image.Image:
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    amplitude = frequency**-1.35
    luma = np.fft.irfft2(
        amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape)), (HEIGHT, WIDTH)
    )
    tint = np.fft.irfft2(
        amplitude**1.4 * np.exp(2j * np.pi * rng.random((3, *amplitude.shape))), (HEIGHT, WIDTH)
    )
    pixels = 128 + 48 * (luma / luma.std())[..., None] + 24 * np.moveaxis(tint / tint.std(), 0, -1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def main(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(count):
            path = folder / split / f"class{number % CLASSES}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photograph(rng).save(path, quality=QUALITY)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 512)
