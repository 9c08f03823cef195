"""Which files are images, by their names, and names that can stand in a log."""

from __future__ import annotations

import os

from beit_exp.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def check_names(paths: list[str]) -> None:
    """Names stand in logs, reports and digests, which are text."""
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UserError(f"the name {os.fsencode(path)!r} is not UTF-8: rename it") from None
