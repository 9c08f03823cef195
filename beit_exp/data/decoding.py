"""From an image file, or a member of a tar, to an image in RGB."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from beit_exp.data import archives
from beit_exp.storage.foreign import reading

# Of the files that count as images. Pillow knows more: to open PostScript it starts a program
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def load_image(file: str | Path | BinaryIO) -> Image.Image:
    """Decode a file, or a member of a tar, of any colour mode to RGB.

    `UserError` names what is no image, of no kind that FORMATS names, or of too many pixels.
    """
    with reading(str(file), "cannot be read as an image"):
        content = (
            io.BytesIO(archives.read(file))
            if isinstance(file, str) and archives.is_member(file)
            else file
        )
        return decode(content, most_pixels=Image.MAX_IMAGE_PIXELS)  # as many as Pillow warns of


def decode(file: str | Path | BinaryIO, *, most_pixels: int | None) -> Image.Image:
    """An image of a kind in FORMATS as RGB; `ValueError` if its header tells of more pixels."""
    with open_image(file, most_pixels=most_pixels) as image:
        return to_rgb(image)


@contextmanager
def open_image(file: str | Path | BinaryIO, *, most_pixels: int | None) -> Iterator[Image.Image]:
    """The same before it is decoded, in its own size and colour mode."""
    try:
        opened = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:  # Pillow names the place in memory of bytes
        raise ValueError(f"it is no image of the kinds {', '.join(FORMATS)}") from None
    with opened as image:
        if most_pixels is not None and image.width * image.height > most_pixels:
            raise ValueError(f"{image.width} x {image.height} pixels are more than {most_pixels:,}")
        yield image


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image of any colour mode to RGB."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip instead of scaling
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")
