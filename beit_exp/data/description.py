"""What a data set is known by."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from beit_exp.data import archives
from beit_exp.data.listing import ImageList, ask_of_each
from beit_exp.storage.foreign import reading

DIGEST_LENGTH = 32  # MLflow takes 36 characters


def describe(images: ImageList, *, name: str, source: str, context: str) -> dict[str, Any]:
    """What tells two data sets apart: numbers of images and classes, and a digest.

    The digest is of file names and sizes.
    """
    start = len(os.path.commonpath(images.paths))
    digest = hashlib.sha256()
    sizes = ask_of_each(images.paths, _sizes)
    for path, size in zip(images.paths, sizes, strict=True):
        digest.update(f"{path[start:]} {size}\n".encode())
    found = {
        "name": name,
        "source": source,
        "context": context,
        "digest": digest.hexdigest()[:DIGEST_LENGTH],
    }
    return {**found, "images": len(images), "classes": len(images.classes)}


def _sizes(paths: list[str]) -> list[int]:
    return [
        archives.size_of(path) if archives.is_member(path) else _size_of(path) for path in paths
    ]


def _size_of(path: str) -> int:
    with reading(path):
        return os.path.getsize(path)
