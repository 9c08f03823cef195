"""Whole groups of images shared out to the sides of a split, by the classes that they hold.

Source, for images of several labels: Sechidis et al., On the Stratification of Multi-Label Data
(2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from beit_exp.data.labels import memberships

# N images · G groups · S sides · C classes · P pairs of a group and a class that it holds


class Groups(NamedTuple):
    """Groups of images, and how many images of each class each of them holds."""

    of_image: np.ndarray  # (N,) number of the group
    sizes: np.ndarray  # (G,)
    images: np.ndarray  # (P,) of the group and the class
    held: np.ndarray  # (P,) the class
    ends: np.ndarray  # (G,) of a group's pairs
    of_class: np.ndarray  # (C,) images
    needed: np.ndarray  # (C,) whether each side must have one

    @property
    def num_groups(self) -> np.ndarray:
        """(C,) how many groups hold each class."""
        return np.bincount(self.held, minlength=len(self.of_class))


def find_groups(labels: np.ndarray, groups: Sequence[str] | None, num_classes: int) -> Groups:
    """Those of images with these labels; without names each image is one.

    Images of several labels have two classes more, of which no side needs an image: one of those
    without a label, and one of all, by which the sides are as large as they should be.
    """
    each = np.arange(len(labels)) if groups is None else np.asarray(groups)
    names, group_of = np.unique(each, return_inverse=True)
    image, label = memberships(labels)
    if labels.ndim == 2:
        every, without = np.arange(len(labels)), np.flatnonzero(~labels.any(axis=1))
        image = np.concatenate([image, without, every])
        more = np.repeat([num_classes, num_classes + 1], [len(without), len(every)])
        label = np.concatenate([label, more])
    classes = num_classes + 2
    pairs, images = np.unique(group_of[image] * classes + label, return_counts=True)
    group_P, held = np.divmod(pairs, classes)
    ends = np.searchsorted(group_P, np.arange(len(names)), side="right")
    of_class = np.bincount(label, minlength=classes)
    needed = np.arange(classes) < num_classes
    return Groups(group_of, np.bincount(group_of), images, held, ends, of_class, needed)


def share_out(
    groups: Groups, wanted_S: np.ndarray, drawn_G: np.ndarray, *, several: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) number of a side for each image, and (S, C) whether a side has too little of a class.

    The larger groups go first, those of equal size as they were drawn, each to the side by which
    the sum over its classes of squared distances from the shares becomes the least. The last groups
    of a class go where there is none of it yet. Of `several` labels an image, rare ones go before
    others, and a distance is measured by its share: the largest side lacks most of every label, and
    would take whatever has several.
    """
    used = wanted_S > 0
    scale_S = np.ones(len(wanted_S))
    rarest_G = np.zeros(len(groups.sizes), int)
    if several:
        scale_S[used] = 1 / wanted_S[used]
        starts = np.append(0, groups.ends[:-1])
        rarest_G = np.minimum.reduceat(groups.of_class[groups.held], starts)
    lack_SC = wanted_S[:, None] * groups.of_class
    is_empty_SC = used[:, None] & groups.needed & (groups.of_class > 0)
    to_come_C = groups.num_groups
    side_G = np.zeros(len(groups.sizes), np.int64)
    for group in drawn_G[np.lexsort((rarest_G[drawn_G], -groups.sizes[drawn_G]))]:
        own = slice(groups.ends[group - 1] if group else 0, groups.ends[group])
        found, images = groups.held[own], groups.images[own]
        is_short = to_come_C[found] <= is_empty_SC[:, found].sum(axis=0)
        most_needed_S = (is_empty_SC[:, found] & is_short).sum(axis=1)
        share = images / groups.of_class[found]
        gain_S = (share * lack_SC[:, found]).sum(axis=1)
        if several:  # what a group adds to a distance differs from side to side
            gain_S = scale_S * (2 * gain_S - (share * images).sum())
        is_allowed = used & (most_needed_S == most_needed_S.max())
        side = int(np.argmax(np.where(is_allowed, gain_S, -np.inf)))
        side_G[group] = side
        lack_SC[side, found] -= images
        is_empty_SC[side, found] = False
        to_come_C[found] -= 1
    return side_G[groups.of_image], is_empty_SC
