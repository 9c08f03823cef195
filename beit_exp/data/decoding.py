"""From an image file, or a member of a tar, to an image in RGB, or to its pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from beit_exp.data import archives
from beit_exp.storage.foreign import reading

# Of the files that count as images. Pillow knows more: to open PostScript it starts a program
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
JPEG = b"\xff\xd8\xff"  # how such a file begins
JPEG_COLORS = ("YCbCr", "Gray", "RGB")  # that libjpeg itself turns into RGB


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


def load_pixels(file: str | Path) -> np.ndarray:
    """The same as (H, W, 4) bytes, the fourth of each pixel unused."""
    path = str(file)
    with reading(path, "cannot be read as an image"):
        content = archives.read(path) if archives.is_member(path) else _read(path)
        return decode_pixels(content, most_pixels=Image.MAX_IMAGE_PIXELS)


def decode_pixels(content: bytes, *, most_pixels: int | None) -> np.ndarray:
    """(H, W, 4) bytes as `decode` finds them, but without the interpreter's lock for a JPEG.

    What libjpeg finds fault with is left to Pillow, which has the last word on what is an image.
    """
    if content.startswith(JPEG):
        try:
            height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
            if colors in JPEG_COLORS and (most_pixels is None or height * width <= most_pixels):
                # Not the fast ways, which round otherwise: Pillow takes the exact ones
                return simplejpeg.decode_jpeg(content, "RGBX", fastdct=False, fastupsample=False)
        except ValueError:
            pass
    return pixels_of(decode(io.BytesIO(content), most_pixels=most_pixels))


def pixels_of(image: Image.Image) -> np.ndarray:
    """An image in RGB as (H, W, 4) bytes, the fourth of each pixel unused."""
    pixels = np.frombuffer(bytearray(image.tobytes("raw", "RGBX")), np.uint8)
    return pixels.reshape(image.height, image.width, 4)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


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
