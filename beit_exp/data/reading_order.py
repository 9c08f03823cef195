"""Where in which tar images lie, and orders of an epoch that read tars from front to back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from beit_exp.data import archives

LARGE_READ_BYTES = 8 << 20
# What lies between two images is read with them up to so much: a network takes as long for a
# request as for some hundred kilobytes
GAP_BYTES = 1 << 19


class Part(NamedTuple):
    """Bytes of a tar, to be read at once."""

    archive: str
    offset: int
    size: int


@dataclass(frozen=True)
class Places:
    """Where N images lie: in which of `archives`, and from where to where in it."""

    archives: list[str]
    archive: np.ndarray  # (N,) number of the tar
    begin: np.ndarray  # (N,) bytes
    end: np.ndarray

    def in_order(self) -> np.ndarray:
        """(N,) numbers of the images, tar by tar and from front to back."""
        return np.lexsort((self.begin, self.archive))

    def are_in_order(self) -> bool:
        """Whether the images as they are numbered lie so."""
        order = self.in_order()
        return bool((order == np.arange(len(order))).all())

    def parts(self, numbers: np.ndarray) -> list[Part]:
        """The bytes of some images in large parts, tar by tar and from front to back."""
        if len(numbers) == 0:
            return []
        numbers = numbers[np.lexsort((self.begin[numbers], self.archive[numbers]))]
        archive, begin, end = self.archive[numbers], self.begin[numbers], self.end[numbers]
        is_apart = (archive[1:] != archive[:-1]) | (begin[1:] - end[:-1] > GAP_BYTES)
        firsts = np.flatnonzero(np.append(True, is_apart))
        lasts = np.append(firsts[1:], len(numbers)) - 1
        return [
            Part(
                self.archives[archive[first]], start, min(LARGE_READ_BYTES, int(end[last]) - start)
            )
            for first, last in zip(firsts, lasts, strict=True)
            for start in range(int(begin[first]), int(end[last]), LARGE_READ_BYTES)
        ]


def find_places(paths: list[str]) -> Places | None:
    """Where images lie in tars; None if one of them does not."""
    number_of: dict[str, int] = {}
    archive, begin, end = (np.empty(len(paths), np.int64) for _ in range(3))
    for number, path in enumerate(paths):
        name = archives.archive_of(path)
        if name is None:
            return None
        if name not in number_of:
            if not os.path.isfile(name):
                return None
            number_of[name] = len(number_of)
        offset, size = archives.index(name).place(archives.name_in(path))
        archive[number], begin[number], end[number] = number_of[name], offset, offset + size
    return Places(list(number_of), archive, begin, end)


def windowed_order(places: Places, window: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) image numbers of an epoch: the tars in random order, laid end to end and cut into
    windows of so many images, which are shuffled each by itself.
    """
    by_archive = np.split(
        places.in_order(),
        np.cumsum(np.bincount(places.archive, minlength=len(places.archives)))[:-1],
    )
    drawn = rng.permutation(len(by_archive))
    order = np.concatenate([by_archive[number] for number in drawn])
    for start in range(0, len(order), window):
        order[start : start + window] = rng.permutation(order[start : start + window])
    return order


def mixing(labels: np.ndarray, order: np.ndarray, window: int) -> tuple[float, float]:
    """How many classes a window of an order holds, and would hold of images drawn at random: means
    over whole windows.
    """
    _, labels = np.unique(labels, return_inverse=True)
    window = min(window, len(order))
    whole = order[: len(order) // window * window].reshape(-1, window)
    found = np.mean([len(np.unique(labels[numbers])) for numbers in whole])
    shares = np.bincount(labels) / len(labels)
    return float(found), float((1 - (1 - shares) ** window).sum())
