"""Labels of images, one each or several: (N,) class numbers, or (N, K) with 1 for each class that
an image has. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SEPARATOR = "|"  # of several labels in a text


def memberships(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) image numbers and (M,) class numbers: a pair for each class of each image."""
    if labels.ndim == 1:
        return np.arange(len(labels)), labels
    images, classes = np.nonzero(labels)
    return images, classes


def count_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) numbers of images of each class."""
    return np.bincount(memberships(labels)[1], minlength=num_classes)


def label_text(label: np.ndarray | np.integer, classes: Sequence[str]) -> str:
    """The names of the classes of one image, of several joined by the separator."""
    numbers = [int(label)] if label.ndim == 0 else np.flatnonzero(label).tolist()
    return SEPARATOR.join(classes[number] for number in numbers)
