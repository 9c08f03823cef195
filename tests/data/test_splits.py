"""Laws of a split, whatever the classes, the groups and the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beit_exp.data.splits import SPLITS, split_folds, split_images
from beit_exp.errors import UserError

SEEDS = st.integers(0, 2**32)
SIZES = st.lists(st.integers(3, 60), min_size=2, max_size=6)  # of classes
SHARES = st.tuples(st.sampled_from([0.0, 0.05, 0.2, 0.4]), st.sampled_from([0.1, 0.25, 0.5]))
FEW = settings(max_examples=50, deadline=None, database=None)


def split(labels, groups=None, *, fractions=(0.2, 0.1), seed=0) -> np.ndarray:
    classes = [f"class {label}" for label in range(max(labels) + 1)]
    return split_images(np.asarray(labels), groups, fractions=fractions, classes=classes, seed=seed)


def grouped(sizes: list[list[int]]) -> tuple[np.ndarray, list[str]]:
    """Labels and groups of images of classes whose groups have these sizes."""
    labels = [
        label for label, of_class in enumerate(sizes) for size in of_class for _ in range(size)
    ]
    groups = [
        f"{label}/{number}"
        for label, of_class in enumerate(sizes)
        for number, size in enumerate(of_class)
        for _ in range(size)
    ]
    return np.array(labels), groups


@FEW
@given(SIZES, SHARES, SEEDS)
def test_of_each_class_the_rounded_share_is_held_out(sizes, fractions, seed) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    sides = split(labels, fractions=fractions, seed=seed)
    assert len(sides) == len(labels) and set(sides) <= set(SPLITS)
    for label, size in enumerate(sizes):
        own = sides[labels == label].tolist()
        counts = [own.count(side) for side in SPLITS]
        asked = [max(1, round(share * size)) if share else 0 for share in fractions]
        assert counts[0] >= 1 and sum(counts) == size
        assert counts[1:] == asked or (counts[0] == 1 and sum(asked) >= size)
        assert all(count >= 1 for count, share in zip(counts[1:], fractions, strict=True) if share)


@FEW
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=12), min_size=2, max_size=5), SEEDS
)
def test_held_out_shares_of_whole_groups_are_within_one_group(sizes, seed) -> None:
    labels, groups = grouped(sizes)
    sides = split(labels, groups, seed=seed)
    for label, of_class in enumerate(sizes):
        for side, share in (("val", 0.2), ("test", 0.1)):
            count = np.count_nonzero(sides[labels == label] == side)
            assert count >= 1 and abs(count - share * sum(of_class)) <= max(of_class)


@FEW
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 14)), min_size=40, max_size=120), SEEDS)
def test_no_group_is_on_two_sides_whatever_classes_it_holds(images, seed) -> None:
    labels = np.array([label for label, _ in images] + [0, 1, 2] * 3)
    groups = [f"patient {group}" for _, group in images]
    groups += [f"new {number}" for number in range(9)]
    sides = split(labels, groups, seed=seed)
    assert len({(group, side) for group, side in zip(groups, sides, strict=True)}) == len(
        set(groups)
    )
    for label in range(3):
        assert set(sides[labels == label]) == set(SPLITS)


@FEW
@given(SEEDS, st.booleans())
def test_a_split_is_that_of_its_seed(seed, is_grouped) -> None:
    labels, groups = grouped([[3] * 20, [2] * 30])
    first, again, other = (
        split(labels, groups if is_grouped else None, seed=each).tolist()
        for each in (seed, seed, seed + 1)
    )
    assert first == again != other


@FEW
@given(SEEDS)
def test_groups_are_told_by_their_names_not_by_their_order(seed) -> None:
    labels, groups = grouped([[5, 4, 3, 2, 1] * 2, [3, 3, 3]])
    order = np.random.default_rng(seed).permutation(len(labels))
    sides = split(labels, groups, seed=seed)
    shuffled = split(labels[order], [groups[number] for number in order], seed=seed)
    assert shuffled.tolist() == sides[order].tolist()


@pytest.mark.parametrize(
    ("labels", "groups", "said"),
    [
        (
            [0, 0, 0, 1, 1],
            None,
            "dataset.val_fraction = 0.2, dataset.test_fraction = 0.1: the class class 1 holds 2 "
            "images, too few for at least one image in each of train, val, test",
        ),
        (
            [0] * 6 + [1] * 3,
            [*"aabbcc", *"abb"],
            r"class 1 holds 3 images in 2 groups \(none is left for (train|val|test)\)",
        ),
    ],
)
def test_a_class_with_too_few_images_is_named(labels, groups, said: str) -> None:
    with pytest.raises(UserError, match=said):
        split(labels, groups)


def folds_of(labels, groups=None, *, folds=5, test_fraction=0.0, seed=0) -> list[np.ndarray]:
    labels = np.asarray(labels)
    classes = [f"class {label}" for label in range(labels.max() + 1)]
    return [
        split_folds(
            labels,
            groups,
            folds=folds,
            fold=fold,
            test_fraction=test_fraction,
            classes=classes,
            seed=seed,
        )
        for fold in range(folds)
    ]


@FEW
@given(
    st.lists(st.integers(8, 60), min_size=2, max_size=6),
    st.integers(2, 7),
    st.sampled_from([0.0, 0.1, 0.3]),
    SEEDS,
)
def test_each_image_is_validated_on_by_one_fold_and_the_test_set_is_that_of_all(
    sizes, folds, test_fraction, seed
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = folds_of(labels, folds=folds, test_fraction=test_fraction, seed=seed)
    is_test = found[0] == "test"
    assert all(((sides == "test") == is_test).all() for sides in found)
    held = np.array([sides == "val" for sides in found])
    assert (held.sum(axis=0) == ~is_test).all()
    for label, size in enumerate(sizes):
        counts = held[:, labels == label].sum(axis=1)
        assert counts.min() >= 1 and counts.max() - counts.min() <= 1
        tested = np.count_nonzero(is_test & (labels == label))
        asked = max(1, round(test_fraction * size)) if test_fraction else 0
        assert tested == min(asked, size - folds)


@FEW
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=6, max_size=14), min_size=2, max_size=4), SEEDS
)
def test_near_duplicates_of_one_group_are_on_one_side_of_every_fold(sizes, seed) -> None:
    labels, groups = grouped(sizes)
    found = folds_of(labels, groups, test_fraction=0.1, seed=seed)
    for sides in found:
        pairs = {(group, side) for group, side in zip(groups, sides, strict=True)}
        assert len(pairs) == len(set(groups))
    held = np.array([sides == "val" for sides in found])
    assert (held.sum(axis=0) == (found[0] != "test")).all()


def test_a_class_too_small_for_the_folds_is_named() -> None:
    said = "dataset.folds = 5, dataset.test_fraction = 0.1: the class class 1 holds 4 images, too f"
    with pytest.raises(UserError, match=said):
        folds_of([0] * 9 + [1] * 4, test_fraction=0.1)


LABEL_SETS = st.lists(
    st.frozensets(st.integers(0, 3), max_size=4), min_size=40, max_size=120
)  # of images


def multi_hot(sets) -> np.ndarray:
    """(N, 4) of these images, and of six more with each class alone."""
    sets = [*sets, *({label} for label in range(4) for _ in range(6))]
    return np.array([[label in found for label in range(4)] for found in sets], np.uint8)


@FEW
@given(LABEL_SETS, SEEDS)
def test_each_of_several_labels_is_split_by_the_shares(sets, seed) -> None:
    labels = multi_hot(sets)
    sides = split_images(labels, None, fractions=(0.2, 0.1), classes=list("abcd"), seed=seed)
    for label in range(4):
        own = sides[labels[:, label] == 1]
        for side, share in (("val", 0.2), ("test", 0.1)):
            count = np.count_nonzero(own == side)
            assert count >= 1 and abs(count - share * len(own)) <= 3
    again = split_images(labels, None, fractions=(0.2, 0.1), classes=list("abcd"), seed=seed)
    assert sides.tolist() == again.tolist()


@FEW
@given(LABEL_SETS, SEEDS)
def test_images_of_several_labels_keep_their_groups_in_every_fold(sets, seed) -> None:
    labels = multi_hot(sets)
    groups = [f"patient {number // 3}" for number in range(len(labels))]
    found = [
        split_folds(
            labels, groups, folds=2, fold=fold, test_fraction=0.0, classes=list("abcd"), seed=seed
        )
        for fold in range(2)
    ]
    assert ((found[0] == "val") == (found[1] == "train")).all()
    pairs = {(group, side) for group, side in zip(groups, found[0], strict=True)}
    assert len(pairs) == len(set(groups))


def test_images_without_a_label_are_split_like_a_class_of_which_none_is_needed() -> None:
    labels = np.concatenate([multi_hot([]), np.zeros((50, 4), np.uint8)])
    sides = split_images(labels, None, fractions=(0.2, 0.2), classes=list("abcd"), seed=0)
    assert [np.count_nonzero(sides[24:] == side) for side in SPLITS] == [30, 10, 10]
    few = np.concatenate([multi_hot([]), np.zeros((1, 4), np.uint8)])
    assert len(split_images(few, None, fractions=(0.2, 0.2), classes=list("abcd"), seed=0)) == 25


def test_a_large_group_of_several_labels_goes_where_it_fits() -> None:
    rng = np.random.default_rng(0)
    groups = ["large"] * 26 + ["b"] * 8 + ["c"] * 6 + [f"{number // 2}" for number in range(20)]
    for seed in range(5):
        labels = (rng.random((60, 4)) < 0.4).astype(np.uint8)
        sides = split_images(labels, groups, fractions=(0.2, 0.1), classes=list("abcd"), seed=seed)
        counts = np.array([np.count_nonzero(sides == side) for side in SPLITS])
        assert set(sides[:26]) == {"train"} and (np.abs(counts - [42, 12, 6]) <= 2).all()


def test_folds_of_several_labels_are_of_equal_size() -> None:
    labels = (np.random.default_rng(0).random((300, 6)) < 0.3).astype(np.uint8)
    sizes = [
        np.count_nonzero(
            split_folds(
                labels,
                None,
                folds=5,
                fold=fold,
                test_fraction=0.0,
                classes=list("abcdef"),
                seed=0,
            )
            == "val"
        )
        for fold in range(5)
    ]
    assert sum(sizes) == 300 and max(sizes) - min(sizes) <= 2


def test_rare_labels_get_an_image_on_each_side_by_another_draw() -> None:
    rng = np.random.default_rng(0)
    for seed in range(30):
        labels = np.zeros((40, 6), np.uint8)
        for label in range(6):
            labels[rng.choice(40, 3, replace=False), label] = 1
        sides = split_images(labels, None, fractions=(0.2, 0.1), classes=list("abcdef"), seed=seed)
        assert all(set(sides[labels[:, label] == 1]) == set(SPLITS) for label in range(6))


def test_a_label_with_too_few_images_is_named() -> None:
    labels = multi_hot([])[:20]  # two of the last
    with pytest.raises(
        UserError, match=r"the class d holds 2 images \(none is left for test\), too few"
    ):
        split_images(labels, None, fractions=(0.2, 0.1), classes=list("abcd"), seed=0)
