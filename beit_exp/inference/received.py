"""What a client of the served model sends: judged before it is opened, for anybody may send it."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.data.decoding import FORMATS, decode_pixels
from beit_exp.errors import UserError

logger = logging.getLogger(__name__)

FOLDER = "BEIT_EXP_IMAGES"
LARGEST_BYTES = 64 * 2**20
LARGEST_PIXELS = 40_000_000  # Pillow's colour image of so many takes 160 MB
REFUSAL = (
    "each row must hold either `image`, the bytes of an image file, or `path`, a file in the "
    f"folder that the server's environment variable {FOLDER} names, if it does; as "
    f"{', '.join(FORMATS)}, with at most {LARGEST_BYTES} bytes and {LARGEST_PIXELS} pixels"
)


def images_folder() -> Path | None:
    """The folder whose files may be named by their path, if the server has one."""
    named = os.environ.get(FOLDER)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(f"{FOLDER} = {named!r}: must be a folder of images")
    return Path(named).resolve()


def receive_image(row: Mapping[Any, Any], folder: Path | None) -> np.ndarray:
    """The image of a row, as RGB.

    Whatever is refused gets the same `UserError`, of one line of code: what a client learns must
    not tell which files there are. The server's log says why.
    """
    why = ""
    try:
        return decode_pixels(_content(row, folder), most_pixels=LARGEST_PIXELS)
    except Exception as error:  # Pillow raises many kinds at damaged files
        why = f"{type(error).__name__}: {error}"
    logger.warning("an image was refused: %s", why)
    raise UserError(REFUSAL)


def _content(row: Mapping[Any, Any], folder: Path | None) -> bytes:
    image, path = row.get("image"), row.get("path")
    if isinstance(image, bytes) == isinstance(path, str):
        raise ValueError("neither, or both, of image and path")
    if isinstance(image, bytes):
        if len(image) > LARGEST_BYTES:
            raise ValueError(f"{len(image)} bytes")
        return image
    if folder is None:
        raise ValueError(f"a path, and {FOLDER} is not set")
    return _read_within(folder, str(path))


def _read_within(folder: Path, name: str) -> bytes:
    """The content of a regular file in a folder."""
    # First as a text, so that no place outside is even asked for
    typed = Path(os.path.normpath(folder / name))
    place = typed.resolve(strict=True) if typed.is_relative_to(folder) else typed
    if not place.is_relative_to(folder):
        raise ValueError(f"{name!r} is outside of {FOLDER}")
    # A FIFO would be waited for, and a link that has just been put there be followed
    with open(
        os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb"
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{name!r} is no regular file")
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{name!r} is too large")
    return content
