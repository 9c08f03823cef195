"""Images that are there more than once: as the same file, or as nearly the same picture.

Of many copies each is told with the first one alone, so that a thousand black images make a
thousand pairs and not half a million.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from beit_exp.data.compiled import compiled

NEAR = 4  # bits of the hash in which two pictures may differ
# Levels by which a colour of 4 x 4 cells may. JPEG at quality 10 moves it by 10, a quarter of the
# size by 3; other pictures of the same hash differ by a hundred
NEAR_COLORS = 12
MOST_COMPARED = 4096  # hashes that one is compared with in a bucket
MOST_PAIRS = 1_000_000  # of hashes that are told
MOST_MEMBERS = 8  # of one hash that are compared with those of another
MOST_LEADERS = 256  # images of one hash with which the later ones are compared
COLOR_CHUNK = 100_000


class Pairs(NamedTuple):
    """Numbers of images, `first` < `second`, that are equal (`exact`) or near by their hashes."""

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    exact: np.ndarray
    is_whole: bool = True  # False: there are more near pairs than were looked for

    def take(self, chosen: np.ndarray) -> Pairs:
        """Some of the pairs, by a mask or in an order."""
        first, second, distance, exact, is_whole = self
        return Pairs(first[chosen], second[chosen], distance[chosen], exact[chosen], is_whole)


def find_duplicates(fingerprints: np.ndarray) -> Pairs:
    """Copies among images, by the FINGERPRINT of each; files that cannot be read are no copies."""
    read = np.flatnonzero(fingerprints["width"] > 0)
    digests, hashes = fingerprints["digest"][read], fingerprints["hash"][read]
    colors = fingerprints["colors"][read]
    _, firsts, places = np.unique(digests, return_index=True, return_inverse=True)
    original = firsts[places]
    copies = np.flatnonzero(original != np.arange(len(read)))
    exact = np.stack([original[copies], copies, np.zeros_like(copies)], axis=1)
    values, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    members = np.argsort(places, kind="stable")
    starts = np.cumsum(counts) - counts
    near, is_whole = near_hashes(values)
    equal = [
        _told_with_leaders(members[start : start + count], digests, colors)
        for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True)
    ]
    other = _pairs_of_members(near, members, starts, counts)
    close = np.concatenate([*equal, other[_have_near_colors(other, colors)]])
    found = np.concatenate([exact, close])
    is_exact = np.arange(len(found)) < len(exact)
    return Pairs(read[found[:, 0]], read[found[:, 1]], found[:, 2], is_exact, is_whole)


def _told_with_leaders(members: np.ndarray, digests: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(P, 3) pairs of images of one hash: each with the first that has its colours, but for equal
    files.
    """
    found, untold = [np.zeros((0, 3), np.int64)], members[1:]
    for first in members[:MOST_LEADERS]:
        others = untold[untold > first]
        if not len(others):
            break
        pairs = np.stack([np.full_like(others, first), others, np.zeros_like(others)], axis=1)
        is_near = _have_near_colors(pairs, colors)
        found.append(pairs[is_near & (digests[others] != digests[first])])
        untold = others[~is_near]
    return np.concatenate(found)


def _pairs_of_members(
    near: np.ndarray, members: np.ndarray, starts: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """(P, 3) pairs of images, of pairs of hashes; of a hash with many images a few, first and last
    among them, which come from different splits if any do.
    """
    one, other, distance = near.T
    used = np.minimum(counts, MOST_MEMBERS)

    def pick(hashes: np.ndarray, place: int) -> np.ndarray:
        steps = place * (counts[hashes] - 1) // np.maximum(1, used[hashes] - 1)
        return members[starts[hashes] + steps]

    found = [np.zeros((0, 3), np.int64)]
    for here in range(MOST_MEMBERS):
        for there in range(MOST_MEMBERS):
            has = (here < used[one]) & (there < used[other])
            pair = np.stack([pick(one[has], here), pick(other[has], there)], axis=1)
            found.append(np.column_stack([np.sort(pair, axis=1), distance[has]]))
    return np.concatenate(found)


def _have_near_colors(pairs: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Which (P, 3) pairs have nearly the same colours at nearly the same places."""
    found = [np.zeros(0, bool)]
    for begin in range(0, len(pairs), COLOR_CHUNK):
        one, other = (
            colors[pairs[begin : begin + COLOR_CHUNK, place]].astype(np.int16) for place in (0, 1)
        )
        found.append(np.abs(one - other).max(axis=1) <= NEAR_COLORS)
    return np.concatenate(found)


def near_hashes(values: np.ndarray, *, distance: int = NEAR) -> tuple[np.ndarray, bool]:
    """(P, 3) numbers of two hashes and the bits in which they differ; whether these are all pairs.

    `values` are distinct uint64. Of distance + 1 bands of the bits one at least is equal in a near
    pair, so that hashes with an equal band alone are compared.
    """
    masks = np.array(band_masks(distance + 1), np.uint64)
    found, count, is_whole = np.zeros((1024, 3), np.int64), 0, True
    for band in range(len(masks)):
        order = np.argsort(values & masks[band], kind="stable")
        while True:
            told, was_cut = _compare_buckets(
                values[order], order, masks, band, distance, MOST_COMPARED, found, count
            )
            if told <= len(found) or len(found) >= MOST_PAIRS:
                break
            size = min(MOST_PAIRS, 2 * told)
            found = np.concatenate([found[:count], np.zeros((size - count, 3), np.int64)])
        is_whole &= not was_cut and told <= len(found)
        count = min(told, len(found))
    return found[:count], is_whole


def band_masks(count: int) -> list[int]:
    """So many masks, as wide as each other or by one wider, that part 64 bits among them."""
    edges = [64 * number // count for number in range(count + 1)]
    return [(1 << end) - (1 << begin) for begin, end in pairwise(edges)]


@compiled
def _compare_buckets(
    values: np.ndarray,
    order: np.ndarray,
    masks: np.ndarray,
    band: int,
    distance: int,
    most_compared: int,
    found: np.ndarray,
    count: int,
) -> tuple[int, bool]:
    """Add the near pairs with an equal band, and no earlier one equal, to `found` from row `count`.

    Returns how many rows it would have, and whether a bucket was too large to compare all of it.
    """
    mask, one, was_cut = masks[band], np.uint64(1), False
    for here in range(len(values)):
        for there in range(here + 1, len(values)):
            if (values[here] & mask) != (values[there] & mask):
                break
            if there - here > most_compared:
                was_cut = True
                break
            difference = values[here] ^ values[there]
            rest, bits = difference, 0
            while rest != 0 and bits <= distance:
                rest, bits = rest & (rest - one), bits + 1
            is_new = bits <= distance
            for earlier in range(band):
                is_new = is_new and (difference & masks[earlier]) != 0
            if is_new:
                if count < len(found):
                    found[count, 0] = min(order[here], order[there])
                    found[count, 1] = max(order[here], order[there])
                    found[count, 2] = bits
                count += 1
    return count, was_cut
