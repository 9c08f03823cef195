"""What a look at every image of a data set finds: copies, leaks, odd sizes, small classes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from beit_exp.data.duplicates import Pairs, find_duplicates
from beit_exp.data.fingerprints import take_fingerprints
from beit_exp.data.labels import count_classes, label_text
from beit_exp.data.listing import ImageList

logger = logging.getLogger(__name__)
TINY = 32  # pixels of the shorter side: what is less shows little
LONG = 4  # times as long as wide: a square crop loses most of it
SMALL = 10  # training images of a class


@dataclass(frozen=True)
class Inspection:
    """The images of all splits, one split after the other, and what was found of each.

    The pairs stand in the order of `importance`.
    """

    splits: list[str]
    classes: list[str]
    paths: list[str]
    labels: np.ndarray  # (len(paths),) of `classes`, or (len(paths), K) as `ImageList` has them
    split: np.ndarray  # (len(paths),) of `splits`
    fingerprints: np.ndarray  # (len(paths),) FINGERPRINT
    complaints: dict[int, str]  # what is wrong with those that cannot be read
    pairs: Pairs
    other_files: list[str]  # in class folders, that are no images

    def across(self) -> np.ndarray:
        """Whether each pair lies in two splits."""
        return self.split[self.pairs.first] != self.split[self.pairs.second]

    def disagree(self) -> np.ndarray:
        """Whether each pair lies in two classes."""
        return ~are_alike(self.pairs, self.labels)

    def copies(self, chosen: np.ndarray) -> tuple[int, int]:
        """Images that some pairs tell for copies of an earlier one: equal files, near ones."""
        second, exact = self.pairs.second[chosen], self.pairs.exact[chosen]
        equal = np.unique(second[exact])
        return len(equal), len(np.setdiff1d(second[~exact], equal))

    def leaks(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Of two splits, how many images of the second have a copy in the first: `copies`."""
        found = {}
        for one, first in enumerate(self.splits):
            for other, second in enumerate(self.splits[one + 1 :], start=one + 1):
                is_first = self.split[self.pairs.first] == one
                counts = self.copies(is_first & (self.split[self.pairs.second] == other))
                if any(counts):
                    found[first, second] = counts
        return found

    def class_sizes(self) -> np.ndarray:
        """(splits, classes) numbers of images."""
        count = len(self.classes)
        of_splits = (self.labels[self.split == number] for number in range(len(self.splits)))
        return np.stack([count_classes(labels, count) for labels in of_splits])

    def label(self, number: int) -> str:
        """The names of an image's classes."""
        return label_text(self.labels[number], self.classes)

    def small_classes(self) -> list[tuple[str, int]]:
        """Classes with fewer than SMALL training images, and how many, the smallest first."""
        sizes = self.class_sizes()[0]
        found = np.flatnonzero(sizes < SMALL)
        found = found[np.argsort(sizes[found], kind="stable")]
        return [(self.classes[label], int(sizes[label])) for label in found]

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Width and height of the images in pixels; 0 of those that cannot be read."""
        return self.fingerprints["width"], self.fingerprints["height"]

    def tiny(self) -> np.ndarray:
        """Numbers of the images with a side shorter than TINY."""
        width, height = self.sizes()
        return np.flatnonzero((width > 0) & (np.minimum(width, height) < TINY))

    def long(self) -> np.ndarray:
        """Numbers of the images that are more than LONG times as long as wide, or the like."""
        width, height = self.sizes()
        return np.flatnonzero(np.maximum(width, height) > LONG * np.minimum(width, height))


def inspect(lists: dict[str, ImageList], other_files: list[str], *, workers: int) -> Inspection:
    """Read every image once, in so many threads, and find what is there more than once."""
    parts: list[np.ndarray] = []
    complaints: dict[int, str] = {}
    begin = 0
    for name, images in lists.items():
        found, refused = take_fingerprints(images.paths, workers=workers)
        logger.info("%s: %d images, %d of them unreadable", name, len(images), len(refused))
        complaints |= {begin + number: text for number, text in refused.items()}
        parts.append(found)
        begin += len(images)
    labels = np.concatenate([images.labels for images in lists.values()])
    split = np.repeat(np.arange(len(lists)), [len(images) for images in lists.values()])
    fingerprints = np.concatenate(parts)
    pairs = find_duplicates(fingerprints)
    return Inspection(
        splits=list(lists),
        classes=lists["train"].classes,
        paths=[path for images in lists.values() for path in images.paths],
        labels=labels,
        split=split,
        fingerprints=fingerprints,
        complaints=complaints,
        pairs=pairs.take(importance(pairs, split, labels)),
        other_files=other_files,
    )


def are_alike(pairs: Pairs, labels: np.ndarray) -> np.ndarray:
    """Whether the images of each pair have the same labels."""
    is_same = labels[pairs.first] == labels[pairs.second]
    return is_same if labels.ndim == 1 else is_same.all(axis=1)


def importance(pairs: Pairs, split: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An order of the pairs: those in two splits first, then those in two classes; near ones last.

    Of those in two splits, the ones with a training image come before the others.
    """
    first, second = split[pairs.first], split[pairs.second]
    is_alike = are_alike(pairs, labels)
    keys = (
        pairs.second,
        pairs.first,
        pairs.distance,
        ~pairs.exact,
        is_alike,
        first,
        first == second,
    )
    return np.lexsort(keys)
