"""Which images are trained on, and which are held out: drawn by the seed, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from beit_exp.data.group_splits import find_groups, share_out
from beit_exp.errors import UserError
from beit_exp.randomness import Stream, generator

SPLITS = ("train", "val", "test")
DRAWS = 20


class Sides(NamedTuple):
    """Where an image may go, and the share of all that is wanted there."""

    names: tuple[str, ...]
    shares: np.ndarray  # of each of them; 0 for one that is not asked for
    asked_by: str  # the settings, for a complaint


def split_images(
    labels: np.ndarray,
    groups: Sequence[str] | None,
    *,
    fractions: tuple[float, float],
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """(N,) of `train`, `val` or `test` for images with these labels.

    `fractions` are the shares of val and of test, 0 for one that is not asked for. With `groups`
    all images of one name are on one side. Images of several labels are split so that the shares
    hold for each label, as near as they can. `UserError` names a class with too few images, or too
    few groups, for an image on each side.
    """
    asked = zip(SPLITS[1:], fractions, strict=True)
    asked_by = ", ".join(f"dataset.{name}_fraction = {share:g}" for name, share in asked if share)
    sides = Sides(SPLITS, np.array([1 - sum(fractions), *fractions]), asked_by)
    if groups is None and labels.ndim == 1:
        found = _split_classes(labels, sides, classes=classes, seed=seed)
    else:
        found = _split_groups(labels, groups, sides, classes=classes, seed=seed)
    return np.array(SPLITS)[found]


def split_folds(
    labels: np.ndarray,
    groups: Sequence[str] | None,
    *,
    folds: int,
    fold: int,
    test_fraction: float,
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """The same where number `fold` of `folds` equal parts is val: each image but those of test is
    in one of these alone, whichever `fold` is asked for.
    """
    names = (*(f"fold {number}" for number in range(folds)), "test")
    shares = np.array([(1 - test_fraction) / folds] * folds + [test_fraction])
    share = f", dataset.test_fraction = {test_fraction:g}" if test_fraction else ""
    sides = Sides(names, shares, f"dataset.folds = {folds}{share}")
    if groups is None and labels.ndim == 1:
        found = _fold_classes(labels, sides, classes=classes, seed=seed)
    else:
        found = _split_groups(labels, groups, sides, classes=classes, seed=seed)
    return np.select([found == folds, found == fold], ["test", "val"], "train")


def _split_classes(
    labels: np.ndarray, sides: Sides, *, classes: Sequence[str], seed: int
) -> np.ndarray:
    """(N,) number of a side: of each class the rounded share, and one at the least."""
    found = np.zeros(len(labels), np.int64)
    for label, name in enumerate(classes):
        own = np.flatnonzero(labels == label)
        _check_enough(own, name, sides)
        counts = [max(1, round(share * len(own))) if share else 0 for share in sides.shares[1:]]
        while sum(counts) >= len(own):  # one is left to train on
            counts[int(np.argmax(counts))] -= 1
        drawn = generator(seed, Stream.split, label).permutation(own)
        found[drawn[: counts[0]]] = SPLITS.index("val")
        found[drawn[counts[0] : sum(counts)]] = SPLITS.index("test")
    return found


def _fold_classes(
    labels: np.ndarray, sides: Sides, *, classes: Sequence[str], seed: int
) -> np.ndarray:
    """(N,) number of a side: of each class the rounded share of the last one, for the test set, and
    of the rest to each side in turn, beginning at another one for each class.
    """
    folds, share = len(sides.names) - 1, sides.shares[-1]
    found = np.zeros(len(labels), np.int64)
    for label, name in enumerate(classes):
        own = np.flatnonzero(labels == label)
        _check_enough(own, name, sides)
        tested = min(max(1, round(share * len(own))), len(own) - folds) if share else 0
        drawn = generator(seed, Stream.split, label).permutation(own)
        found[drawn[:tested]] = folds
        found[drawn[tested:]] = (np.arange(len(own) - tested) + label) % folds
    return found


def _split_groups(
    labels: np.ndarray,
    groups: Sequence[str] | None,
    sides: Sides,
    *,
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """(N,) number of a side: see `share_out`.

    Where an image has several labels, one for a side may take another's last one, so others are
    drawn then.
    """
    several, wanted = labels.ndim == 2, sides.shares
    found = find_groups(labels, groups, len(classes))
    for draw in range(DRAWS if several else 1):
        rng = generator(seed, Stream.split, *([draw] if draw else []))
        drawn = rng.permutation(len(found.sizes))
        side_of, is_empty = share_out(found, wanted, drawn, several=several)
        if not is_empty.any():
            return side_of
    side, label = np.argwhere(is_empty)[0]
    what = f"{found.of_class[label]} images"
    what += "" if groups is None else f" in {found.num_groups[label]} groups"
    missing = f"{what} (none is left for {sides.names[side]})"
    raise UserError(_too_few(classes[label], missing, sides))


def _check_enough(own: np.ndarray, name: str, sides: Sides) -> None:
    if len(own) < np.count_nonzero(sides.shares):
        raise UserError(_too_few(name, f"{len(own)} images", sides))


def _too_few(name: str, held: str, sides: Sides) -> str:
    asked = [side for side, share in zip(sides.names, sides.shares, strict=True) if share > 0]
    return (
        f"{sides.asked_by}: the class {name} holds {held}, too few for at least one image in "
        f"each of {', '.join(asked)}"
    )
