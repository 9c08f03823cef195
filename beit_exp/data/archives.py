"""Images in tar files, read where they lie.

One file instead of a million is kinder to network file systems and object stores. A member is
called as if the tar were a folder: `/data/train.tar/cat/1.jpg`.
"""

from __future__ import annotations

import bisect
import os
import tarfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beit_exp.errors import UserError

ENDING = ".tar"
INSIDE = f"{ENDING}/"
LAST = chr(0x10FFFF)  # sorts behind any other character


class Index(NamedTuple):
    """The files in a tar: names in sorted order, and where in it their bytes are."""

    names: list[str]
    offsets: np.ndarray
    sizes: np.ndarray

    def place(self, name: str) -> tuple[int, int]:
        """(offset, size) of a member in bytes; `FileNotFoundError` if there is none."""
        number = bisect.bisect_left(self.names, name)
        if number == len(self.names) or self.names[number] != name:
            raise FileNotFoundError(name)
        return int(self.offsets[number]), int(self.sizes[number])


def is_member(path: str) -> bool:
    """Whether a path leads into a tar."""
    return INSIDE in path and not os.path.exists(path)


def read(path: str) -> bytes:
    """The bytes of a member, `OSError` if they are cut short; many threads may read at once."""
    archive, name = _split(path)
    offset, size = index(archive).place(name)
    content = os.pread(_descriptor(archive), size, offset)
    if len(content) < size:
        raise OSError(f"{archive} ends in the middle of {name}")
    return content


def size_of(path: str) -> int:
    """The size of a member in bytes."""
    archive, name = _split(path)
    return index(archive).place(name)[1]


def names_below(archive: Path, beginning: str) -> list[str]:
    """The files in a tar whose names begin so, in sorted order."""
    names = index(str(archive)).names
    return names[bisect.bisect_left(names, beginning) : bisect.bisect_left(names, beginning + LAST)]


def folders_in(archive: Path) -> list[str]:
    """The folders at the top of a tar that hold something, in sorted order."""
    names = (name.partition("/") for name in index(str(archive)).names)
    return sorted({folder for folder, slash, _ in names if slash and not folder.startswith(".")})


@cache
def index(archive: str) -> Index:
    """Read once in a process: a pass over the tar's headers; `UserError` if it is none."""
    try:
        with tarfile.open(archive, "r:") as tar:
            files = (member for member in tar if member.isreg())
            found = sorted(
                (os.path.normpath(file.name), file.offset_data, file.size) for file in files
            )
    except (tarfile.TarError, EOFError) as error:
        raise UserError(
            f"{archive} cannot be read as a tar, which must not be compressed: {error}"
        ) from error
    offsets, sizes = (np.array([row[column] for row in found], np.int64) for column in (1, 2))
    return Index([row[0] for row in found], offsets, sizes)


@cache
def _descriptor(archive: str) -> int:
    return os.open(archive, os.O_RDONLY)


def _split(path: str) -> tuple[str, str]:
    archive, _, name = path.partition(INSIDE)
    return archive + ENDING, name
