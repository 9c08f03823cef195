from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flawed_images import write_flawed

from beit_exp.data.duplicates import Pairs
from beit_exp.data.inspection import Inspection, importance, inspect
from beit_exp.data.listing import ImageList, list_classes


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = write_flawed(tmp_path_factory.mktemp("flawed"))
    lists = {split: list_classes(folder / split) for split in ("train", "val")}
    return inspect(lists, [], workers=2)


def names(data: Inspection, numbers: np.ndarray) -> list[str]:
    return ["/".join(Path(data.paths[number]).parts[-3:]) for number in numbers]


def test_copies_are_found_the_gravest_first(flawed: Inspection) -> None:
    pairs = zip(names(flawed, flawed.pairs.first), names(flawed, flawed.pairs.second), strict=True)
    assert list(pairs) == [
        ("train/cat/0.png", "val/cat/leak.png"),
        ("train/dog/0.png", "val/dog/leak.jpg"),
        ("train/cat/1.png", "train/dog/other_label.png"),
        ("train/cat/2.png", "train/cat/smaller.png"),
    ]
    assert flawed.pairs.exact.tolist() == [True, False, True, False]
    assert flawed.pairs.distance.max() <= 4


def test_leaks_and_conflicts_are_counted_by_the_images_that_are_copies(flawed: Inspection) -> None:
    assert flawed.leaks() == {("train", "val"): (1, 1)}
    assert flawed.copies(flawed.disagree()) == (1, 0)
    assert flawed.copies(~flawed.across()) == (1, 1)


def test_odd_images_and_small_classes_are_found(flawed: Inspection) -> None:
    assert names(flawed, flawed.tiny()) == ["train/dog/tiny.png"]
    assert names(flawed, flawed.long()) == ["train/dog/long.png"]
    assert flawed.class_sizes().tolist() == [[5, 7], [3, 3]]
    assert flawed.small_classes() == [("cat", 5), ("dog", 7)]


def test_an_image_with_several_copies_counts_once_and_as_the_nearer(flawed: Inspection) -> None:
    first, second = np.array([0, 1, 2]), np.array([15, 15, 16])
    pairs = Pairs(first, second, np.array([0, 2, 1]), np.array([True, False, False]))
    data = Inspection(**{**vars(flawed), "pairs": pairs})
    assert data.copies(np.ones(3, bool)) == (1, 1)


def test_pairs_with_training_images_come_before_others_of_two_splits() -> None:
    split, labels = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 0, 0])
    first, second = np.array([2, 0, 2, 0, 0]), np.array([3, 1, 4, 4, 2])
    exact = np.array([True, True, True, False, False])
    pairs = Pairs(first, second, np.array([0, 0, 0, 3, 1]), exact)
    ordered = pairs.take(importance(pairs, split, labels))
    found = list(zip(ordered.first.tolist(), ordered.second.tolist(), strict=True))
    assert found == [(0, 2), (0, 4), (2, 4), (0, 1), (2, 3)]


def test_of_several_labels_all_must_be_alike_and_each_counts(few_digits: Path) -> None:
    paths = list_classes(few_digits / "train").paths[:2]
    images = {
        "train": ImageList(paths, np.array([[1, 1], [0, 1]], np.uint8), ["cat", "dog"]),
        "val": ImageList(paths, np.array([[1, 1], [1, 1]], np.uint8), ["cat", "dog"]),
    }
    found = inspect(images, [], workers=1)
    assert found.class_sizes().tolist() == [[1, 2], [2, 2]]
    assert found.across().all() and sorted(found.disagree().tolist()) == [False, True]
    assert (found.label(0), found.label(1)) == ("cat|dog", "dog")
