"""What is kept of an image that was read once: digest, size, kind, and a hash of what it shows."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from beit_exp.data import archives
from beit_exp.data.decoding import open_image, to_rgb
from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading

CHUNK = 64  # images that a thread reads at once: a million tasks would take gigabytes
ROWS, COLUMNS = 8, 8  # of the hash's bits
COLOR_SIDE = 4
# Levels by which a cell must be lighter than its right neighbour: an encoder's noise is below
LIGHTER = 2
FINGERPRINT = np.dtype(
    [
        ("digest", "S32"),  # SHA-256 of the file's bytes
        ("hash", np.uint64),  # see `difference_hash`
        ("colors", np.uint8, (3 * COLOR_SIDE**2,)),  # of the image reduced to 4 x 4
        ("width", np.uint32),  # 0: the file cannot be read
        ("height", np.uint32),
        ("mode", "S8"),  # Pillow's names of it and of the format
        ("format", "S8"),
    ]
)


def take_fingerprints(paths: list[str], *, workers: int) -> tuple[np.ndarray, dict[int, str]]:
    """A FINGERPRINT of each file, and what is wrong with those that cannot be read, by number."""
    chunks = [paths[begin : begin + CHUNK] for begin in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(_take_chunk, chunks))
    complaints = {
        number * CHUNK + place: text
        for number, (_, refused) in enumerate(parts)
        for place, text in refused.items()
    }
    empty = np.zeros(0, FINGERPRINT)
    return np.concatenate([empty, *(found for found, _ in parts)]), complaints


def _take_chunk(paths: list[str]) -> tuple[np.ndarray, dict[int, str]]:
    found, complaints = np.zeros(len(paths), FINGERPRINT), {}
    for place, path in enumerate(paths):
        try:
            found[place] = take_fingerprint(path)
        except UserError as error:
            complaints[place] = str(error)
    return found, complaints


def take_fingerprint(path: str) -> tuple[Any, ...]:
    """The fields of a FINGERPRINT, from one reading; `UserError` as of `load_image`."""
    with reading(path, "cannot be read as an image"):
        is_member = archives.is_member(path)
        content = archives.read(path) if is_member else Path(path).read_bytes()
        with open_image(io.BytesIO(content), most_pixels=Image.MAX_IMAGE_PIXELS) as image:
            kind = image.width, image.height, image.mode, image.format or ""
            reduced = reduce_image(to_rgb(image))
    digest = hashlib.sha256(content).digest()
    return digest, difference_hash(reduced), mean_colors(reduced), *kind


def reduce_image(image: Image.Image) -> Image.Image:
    """An RGB image in 4 x 4 pixels for each cell of the hash."""
    size = 4 * (COLUMNS + 1), 4 * ROWS
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def difference_hash(reduced: Image.Image) -> int:
    """64 bits, row by row: whether a cell of 8 rows of 9 is lighter than the one to its right.

    What encoding and resizing leave of an image keeps most of them.
    """
    grey = reduced.convert("L").resize((COLUMNS + 1, ROWS), Image.Resampling.BOX)
    levels = np.asarray(grey).astype(np.int16)
    return int.from_bytes(np.packbits(levels[:, :-1] - levels[:, 1:] >= LIGHTER).tobytes(), "big")


def mean_colors(reduced: Image.Image) -> np.ndarray:
    """(48,) uint8: red, green and blue of 4 x 4 cells."""
    return np.asarray(reduced.resize((COLOR_SIDE, COLOR_SIDE), Image.Resampling.BOX)).reshape(-1)
