"""Training images in windows that tars are read by: `dataset.shuffle_window`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from beit_exp.data.listing import ImageList
from beit_exp.data.read_ahead import ReadAhead
from beit_exp.data.reading_order import Places, find_places, mixing, windowed_order
from beit_exp.errors import UserError

logger = logging.getLogger(__name__)


class Windows:
    """Orders of epochs in windows of `size` images, and how they are read ahead.

    An epoch shows its first `shown` images; `order_of` tells the order of one.
    """

    def __init__(
        self, images: ImageList, size: int, *, shown: int, order_of: Callable[[int], np.ndarray]
    ) -> None:
        self.size = size
        self._shown = shown
        self._order_of = order_of
        self._per_epoch = -(-shown // size)
        self._places = _find_tars(images, size)
        self._ahead = ReadAhead(self._places, self._images_of)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Image numbers in the order of an epoch."""
        return windowed_order(self._places, self.size, rng)

    def reach(self, epoch: int, begin: int, end: int) -> None:
        """Read the windows that places `begin` to `end` - 1 of an epoch lie in, and in step with
        them the one behind, of the next epoch after the last.
        """
        first, (last, place) = begin // self.size, divmod(end - 1, self.size)
        begun, size = epoch * self._per_epoch, min(self.size, self._shown - last * self.size)
        self._ahead.reach(begun + first, begun + last, share=(place + 1) / size)

    def _images_of(self, number: int) -> np.ndarray:
        """Numbers of the images in a window, counted from the run's start."""
        epoch, window = divmod(number, self._per_epoch)
        shown = self._order_of(epoch)[: self._shown]
        return shown[window * self.size : (window + 1) * self.size]


def tell_mixing(labels: np.ndarray, order: np.ndarray, size: int) -> None:
    """Warn where windows hold images of few classes."""
    found, random = mixing(labels, order, size)
    if found < random / 2:
        logger.warning(
            "dataset.shuffle_window = %d: so many images in the order of the tars are of %.0f "
            "classes in the mean; drawn at random, of %.0f. Batches of few classes train worse: "
            "pack the images in a random order, or say a larger window",
            size,
            found,
            random,
        )


def _find_tars(images: ImageList, size: int) -> Places:
    places = find_places(images.paths)
    if places is None or len(places.archives) < 2:
        where = "in files of their own" if places is None else "in a single tar"
        raise UserError(
            f"dataset.shuffle_window = {size}: must be null, for training images lie {where}. "
            "Windows are cut from several tars, read in a random order"
        )
    return places
