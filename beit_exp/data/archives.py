"""Images in tar files, read where they lie.

One file instead of a million is kinder to network file systems and object stores. A member is
called as if the tar were a folder: `/data/train.tar/cat/1.jpg`.
"""

from __future__ import annotations

import bisect
import os
import resource
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading

ENDING = ".tar"
INSIDE = f"{ENDING}/"
LAST = chr(0x10FFFF)  # sorts behind any other character
READ_BYTES = 1 << 20
MAX_LINKS = 8  # that lead to one another


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


def archive_of(path: str) -> str | None:
    """The tar that a path leads into, by its name; None if into none."""
    return _split(path)[0] if INSIDE in path else None


def name_in(path: str) -> str:
    """What a member is called in its tar."""
    return _split(path)[1]


def is_member(path: str) -> bool:
    """Whether a path leads into a tar."""
    return INSIDE in path and not os.path.exists(path)


def read(path: str) -> bytes:
    """The bytes of a member, `OSError` if they are cut short; many threads may read at once."""
    archive, name = _split(path)
    offset, size = index(archive).place(name)
    content = _pread(archive, size, offset)
    if len(content) < size:
        raise OSError(f"{archive} ends in the middle of {name}")
    return content


def read_ahead(archive: str, offset: int, size: int) -> None:
    """Read a part of a tar, so that the system keeps it for who needs it next."""
    with suppress(OSError):  # told with the image's name when that is read
        _pread(archive, size, offset)


def holds(path: str) -> bool:
    """Whether a path leads to a member of a tar that is there."""
    archive, name = _split(path)
    if INSIDE not in path or not os.path.isfile(archive):
        return False
    names = index(archive).names
    number = bisect.bisect_left(names, name)
    return number < len(names) and names[number] == name


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
    """Read once in a process: a pass over the tar's headers.

    `UserError` unless every byte up to its end is accounted for: `tarfile` takes a damaged header
    for the end.
    """
    with reading(archive):
        try:
            with tarfile.open(archive, "r:") as tar:
                members = list(tar)
        except tarfile.TarError as error:
            raise UserError(
                f"{archive} cannot be read as a tar, which must not be compressed: {error}"
            ) from error
        _check_end(archive, members)
        found = sorted(_files(members).items())
    offsets, sizes = (
        np.array([place[column] for _, place in found], np.int64) for column in (0, 1)
    )
    return Index([name for name, _ in found], offsets, sizes)


def _check_end(archive: str, members: list[tarfile.TarInfo]) -> None:
    """Refuse a tar that does not end in two blocks of zeros, with nothing but zeros behind them."""
    last = members[-1] if members else None
    end = 0 if last is None else last.offset_data
    if last is not None and last.isreg():
        end += -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    with open(archive, "rb") as file:
        rest = os.fstat(file.fileno()).st_size - end
        if rest < 2 * tarfile.BLOCKSIZE:
            raise ValueError(f"it is cut short: after {len(members)} members its end is missing")
        file.seek(end)
        while chunk := file.read(READ_BYTES):
            if chunk.count(0) != len(chunk):
                raise ValueError(
                    f"after {len(members)} members there is a damaged header, or another tar: "
                    "pack all files into one tar, at once"
                )


def _files(members: list[tarfile.TarInfo]) -> dict[str, tuple[int, int]]:
    """(offset, size) of every file by its name, links resolved; `ValueError` for what is neither
    file, folder nor link to a file of the same tar.
    """
    files: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    for member in members:
        name = _inside(member.name)
        if member.isdir():
            continue
        if name in files or name in links:
            raise ValueError(f"{name} is there twice: pack all files into one tar, at once")
        if member.islnk():
            links[name] = _inside(member.linkname)
        elif member.issym():
            links[name] = _inside(os.path.join(os.path.dirname(name), member.linkname))
        elif member.isreg() and not member.issparse():
            files[name] = (member.offset_data, member.size)
        else:
            raise ValueError(f"{name} is neither a file, a folder nor a link")
    return files | {name: files[_target(name, links, files)] for name in links}


def _inside(name: str) -> str:
    """A name as from the top of the tar; `ValueError` if it leads out, or is not UTF-8."""
    name.encode()
    name = os.path.normpath(name)
    if name.startswith(("/", "..")):
        raise ValueError(f"{name} leads out of the tar")
    return name


def _target(name: str, links: dict[str, str], files: dict[str, tuple[int, int]]) -> str:
    target = name
    for _ in range(MAX_LINKS):
        target = links.get(target, target)
        if target in files:
            return target
    raise ValueError(f"{name} links to {links[name]}, which is no file in it")


def _pread(archive: str, size: int, offset: int) -> bytes:
    opened = _opener()(archive)  # held, for another thread may put it out of the kept ones
    return os.pread(opened.descriptor, size, offset)


@dataclass(frozen=True)
class _Opened:
    """A tar that is closed when nobody holds this any more."""

    descriptor: int

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.descriptor)


@cache
def _opener() -> Callable[[str], _Opened]:
    """Opens tars, and keeps open half as many as a process may have: there may be more shards."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return lru_cache(None if most == resource.RLIM_INFINITY else most // 2)(_open)


def _open(archive: str) -> _Opened:
    return _Opened(os.open(archive, os.O_RDONLY))


def _split(path: str) -> tuple[str, str]:
    archive, _, name = path.partition(INSIDE)
    return archive + ENDING, name
