"""Tars read in large parts, from front to back, before their images are asked for one by one.

The parts go into the system's cache of files, which all processes of a machine share: an image is
then read from memory. Where that cache is short, images are read at random places again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock

import numpy as np

from beit_exp.data import archives
from beit_exp.data.listing import ImageList
from beit_exp.data.reading_order import Part, Places, find_places

IN_ORDER = 512  # images of a window that are asked for in order


class ReadAhead:
    """Reads windows of images, numbered from 0 on, by whatever threads need them, together."""

    def __init__(self, places: Places, images_of: Callable[[int], np.ndarray]) -> None:
        """`images_of` tells the numbers of a window's images."""
        self._places = places
        self._images_of = images_of
        self._lock = Lock()
        self._window = -1
        self._parts: list[Part] = []
        self._next = 0

    def reach(self, first: int, last: int, *, share: float) -> None:
        """Read windows `first` to `last` to their ends, and a share of the one behind them: but for
        what others have read, or are reading.
        """
        while (part := self._take(first, last, share)) is not None:
            archives.read_ahead(*part)

    def _take(self, first: int, last: int, share: float) -> Part | None:
        with self._lock:
            if self._window < first:
                self._open(first)
            while self._window <= last and self._next == len(self._parts):
                self._open(self._window + 1)
            wanted = len(self._parts)
            if self._window > last:
                is_next = self._window == last + 1
                wanted = math.ceil(share * len(self._parts)) if is_next else 0
            if self._next >= wanted:
                return None
            self._next += 1
            return self._parts[self._next - 1]

    def _open(self, window: int) -> None:
        self._window, self._next = window, 0
        self._parts = self._places.parts(self._images_of(window))


def read_in_order(images: ImageList) -> Callable[[int, int], None]:
    """A function that reads images `begin` to `end` - 1 and, in step with them, some behind them.

    It does nothing where images do not lie in tars in the order of their numbers.
    """
    places = find_places(images.paths)
    if places is None or not places.are_in_order():
        return lambda begin, end: None

    def images_of(window: int) -> np.ndarray:
        return np.arange(window * IN_ORDER, min((window + 1) * IN_ORDER, len(images)))

    ahead = ReadAhead(places, images_of)

    def reach(begin: int, end: int) -> None:
        last, place = divmod(end - 1, IN_ORDER)
        ahead.reach(begin // IN_ORDER, last, share=(place + 1) / IN_ORDER)

    return reach
