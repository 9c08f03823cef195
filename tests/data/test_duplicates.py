from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from settings import GOLDEN

from beit_exp.data import duplicates
from beit_exp.data.duplicates import band_masks, find_duplicates, near_hashes
from beit_exp.data.fingerprints import FINGERPRINT, take_fingerprints

# A few hashes and what some flipped bits make of them, so that there are near ones
FLIPS = st.lists(st.integers(0, 63), max_size=6)
HASHES = st.lists(
    st.tuples(st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF, 0xFF00FF00FF00FF00]), FLIPS),
    min_size=1,
    max_size=30,
)


def images(*kinds: tuple[str, int, int]) -> np.ndarray:
    """Fingerprints of (digest, hash, level of all colours); no digest: unreadable."""
    found = np.zeros(len(kinds), FINGERPRINT)
    for place, (digest, number, level) in enumerate(kinds):
        found[place] = (digest.encode(), number, [level] * 48, bool(digest), 1, b"RGB", b"PNG")
    return found


def told(fingerprints: np.ndarray) -> list[tuple[int, int, int, bool]]:
    pairs = find_duplicates(fingerprints)
    columns = pairs.first, pairs.second, pairs.distance, pairs.exact
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@settings(deadline=None)
@given(HASHES, st.integers(0, 6))
def test_near_hashes_are_those_that_a_comparison_of_all_finds(
    drawn: list[tuple[int, list[int]]], distance: int
) -> None:
    flipped = [start ^ sum(1 << bit for bit in set(flips)) for start, flips in drawn]
    values = np.unique(np.array(flipped, np.uint64))
    found, is_whole = near_hashes(values, distance=distance)
    bits = {
        (one, other): bin(int(values[one]) ^ int(values[other])).count("1")
        for one, other in combinations(range(len(values)), 2)
    }
    expected = [(*pair, count) for pair, count in bits.items() if count <= distance]
    assert is_whole and sorted(map(tuple, found.tolist())) == sorted(expected)


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_bands_part_all_bits_among_them(count: int) -> None:
    masks = band_masks(count)
    assert sum(masks) == 2**64 - 1 and len(masks) == count
    assert all(one & other == 0 for one, other in combinations(masks, 2))
    widths = [bin(mask).count("1") for mask in masks]
    assert max(widths) - min(widths) <= 1


def test_equal_files_are_told_once_each_with_the_first() -> None:
    found = told(images(("a", 5, 0), ("b", 2**64 - 1, 0), ("a", 5, 0), ("a", 5, 0)))
    assert found == [(0, 2, 0, True), (0, 3, 0, True)]


def test_a_leak_that_is_near_to_a_told_copy_alone_is_told() -> None:
    chain = images(("a", 7, 100), ("b", 7, 110), ("c", 7, 120))
    assert told(chain) == [(0, 1, 0, False), (1, 2, 0, False)]


def test_near_pictures_are_told_with_the_bits_between_them() -> None:
    found = told(images(("a", 0, 50), ("b", 0b1111, 60), ("c", 0b11111, 50)))
    assert found == [(0, 1, 4, False), (1, 2, 1, False)]


def test_photos_encoded_anew_or_resized_are_near_and_other_photos_are_not(tmp_path: Path) -> None:
    photos = sorted((GOLDEN / "eval").glob("*.jpg"))
    paths = [str(path) for path in photos]
    for change in ("encoded", "resized"):
        for photo in photos:
            with Image.open(photo) as image:
                size = (image.width // 2, image.height // 2) if change == "resized" else image.size
                path = tmp_path / f"{change}_{photo.stem}.jpg"
                image.resize(size).save(path, quality=30)
                paths.append(str(path))
    found = told(take_fingerprints(paths, workers=2)[0])
    assert {second % len(photos) - first % len(photos) for first, second, _, _ in found} == {0}
    assert {first for first, *_ in found} >= set(range(len(photos)))
    assert {second for _, second, *_ in found} == set(range(len(photos), len(paths)))


def test_equal_hashes_of_other_colors_are_other_pictures() -> None:
    found = told(images(("a", 0, 0), ("b", 0, 255), ("c", 0, 12), ("d", 0, 250), ("e", 1, 128)))
    assert found == [(0, 2, 0, False), (1, 3, 0, False)]


def test_a_copy_of_a_near_picture_is_near_too() -> None:
    """Else a leak by way of it would not be told."""
    found = told(images(("a", 0, 0), ("b", 1, 0), ("b", 1, 0)))
    assert found == [(0, 1, 1, False), (0, 2, 1, False), (1, 2, 0, True)]


def test_files_that_cannot_be_read_are_no_copies_of_each_other() -> None:
    assert told(images(("", 0, 0), ("a", 0, 0), ("", 0, 0), ("b", 0, 0))) == [(1, 3, 0, False)]


def test_twenty_thousand_black_images_are_as_many_pairs_and_not_their_square() -> None:
    fingerprints = np.zeros(20_000, FINGERPRINT)
    fingerprints["width"] = 1
    fingerprints["digest"] = np.arange(20_000).astype("S32")
    pairs = find_duplicates(fingerprints)
    assert len(pairs.first) == 19_999 and pairs.is_whole and not pairs.exact.any()
    fingerprints["digest"] = b"the same"
    pairs = find_duplicates(fingerprints)
    assert len(pairs.first) == 19_999 and pairs.exact.all()


def test_of_two_hashes_with_many_images_first_and_last_are_compared() -> None:
    one, other = ([(f"{number}{each}", number, 0) for each in range(100)] for number in (0, 1))
    near = [pair[:2] for pair in told(images(*one, *other)) if pair[2] == 1]
    assert len(near) == duplicates.MOST_MEMBERS**2
    assert {(0, 100), (0, 199), (99, 100), (99, 199)} <= set(near)


def test_more_pairs_than_are_told_are_owned_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.unique(1 << np.arange(50, dtype=np.uint64))
    assert len(near_hashes(values)[0]) == 50 * 49 / 2 and near_hashes(values)[1]
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 10)
    found, is_whole = near_hashes(values)
    assert len(found) < 50 * 49 / 2 and not is_whole
    monkeypatch.undo()
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1024)
    found, is_whole = near_hashes(values)
    assert len(found) == 1024 and not is_whole


def test_more_pairs_than_there_was_room_for_at_first_are_all_told() -> None:
    values = np.unique((1 << np.arange(64, dtype=np.uint64))[:, None] | np.uint64(2**63))
    values = np.unique(np.concatenate([values, 1 << np.arange(63, dtype=np.uint64)]))
    found, is_whole = near_hashes(values)
    assert is_whole and len(found) > 2048
    assert len({(one, other) for one, other, _ in found.tolist()}) == len(found)
