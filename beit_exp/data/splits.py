"""Which images are trained on, and which are held out: drawn by the seed, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beit_exp.errors import UserError
from beit_exp.randomness import Stream, generator

SPLITS = ("train", "val", "test")


def split_images(
    labels: np.ndarray,
    groups: Sequence[str] | None,
    *,
    fractions: tuple[float, float],
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """(N,) of `train`, `val` or `test` for images with these class numbers.

    `fractions` are the shares of val and of test, 0 for one that is not asked for. With `groups`
    all images of one name are on one side. `UserError` names a class with too few images, or too
    few groups, for an image on each side.
    """
    wanted = np.array([1 - sum(fractions), *fractions])
    if groups is None:
        sides = _split_classes(labels, wanted, classes=classes, seed=seed)
    else:
        sides = _split_groups(labels, np.asarray(groups), wanted, classes=classes, seed=seed)
    return np.array(SPLITS)[sides]


def _split_classes(
    labels: np.ndarray, wanted: np.ndarray, *, classes: Sequence[str], seed: int
) -> np.ndarray:
    """(N,) number of a side: of each class the rounded share, and one at the least."""
    sides = np.zeros(len(labels), np.int64)
    for label, name in enumerate(classes):
        own = np.flatnonzero(labels == label)
        if len(own) < np.count_nonzero(wanted):
            raise UserError(_too_few(name, f"{len(own)} images", wanted))
        counts = [max(1, round(share * len(own))) if share else 0 for share in wanted[1:]]
        while sum(counts) >= len(own):  # one is left to train on
            counts[int(np.argmax(counts))] -= 1
        drawn = generator(seed, Stream.split, label).permutation(own)
        sides[drawn[: counts[0]]] = SPLITS.index("val")
        sides[drawn[counts[0] : sum(counts)]] = SPLITS.index("test")
    return sides


def _split_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    wanted: np.ndarray,
    *,
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """(N,) number of a side: whole groups, the larger first, each to the side that lacks most of
    its classes' images.

    The last groups of a class go where there is none of it yet.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    sizes, of_class = np.bincount(group_of), np.bincount(labels, minlength=len(classes))
    # A pair is a group and a class that it holds
    pairs, images = np.unique(group_of * len(classes) + labels, return_counts=True)
    group_of_pair, held = np.divmod(pairs, len(classes))
    ends = np.searchsorted(group_of_pair, np.arange(len(names)), side="right")
    to_come = np.bincount(held, minlength=len(classes))  # groups of each class
    num_groups = to_come.copy()
    lack = wanted[:, None] * of_class
    is_empty = np.repeat(wanted[:, None] > 0, len(classes), axis=1)

    drawn = generator(seed, Stream.split).permutation(len(names))
    side_of = np.zeros(len(names), np.int64)
    for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        own = slice(ends[group - 1] if group else 0, ends[group])
        found, counts = held[own], images[own]
        is_short = to_come[found] <= is_empty[:, found].sum(axis=0)
        most_needed = (is_empty[:, found] & is_short).sum(axis=1)
        # Of all sides this one comes nearest to the shares, in squares over a class's images
        gain = (counts / of_class[found] * lack[:, found]).sum(axis=1)
        is_allowed = (wanted > 0) & (most_needed == most_needed.max())
        side = int(np.argmax(np.where(is_allowed, gain, -np.inf)))
        side_of[group] = side
        lack[side, found] -= counts
        is_empty[side, found] = False
        to_come[found] -= 1
    if is_empty.any():
        side, label = np.argwhere(is_empty)[0]
        what = f"{of_class[label]} images in {num_groups[label]} groups"
        missing = f"{what} (none is left for {SPLITS[side]})"
        raise UserError(_too_few(classes[label], missing, wanted))
    return side_of[group_of]


def _too_few(name: str, held: str, wanted: np.ndarray) -> str:
    asked = [split for split, share in zip(SPLITS, wanted, strict=True) if share > 0]
    shares = [
        f"dataset.{split}_fraction = {share:g}"
        for split, share in zip(SPLITS[1:], wanted[1:], strict=True)
        if share > 0
    ]
    return (
        f"{', '.join(shares)}: the class {name} holds {held}, too few for at least one image in "
        f"each of {', '.join(asked)}"
    )
