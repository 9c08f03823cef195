from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from settings import make_config

from beit_exp.data import erasing, transforms
from beit_exp.data.erasing import draw_box, random_erasing


def test_erased_boxes_are_smaller_than_the_image_and_within_their_share() -> None:
    rng = default_rng(0)
    boxes = [box for box in (draw_box(100, 100, rng=rng, count=1) for _ in range(3000)) if box]
    areas = np.array([height * width for _, _, height, width in boxes])
    assert all(height < 100 and width < 100 for _, _, height, width in boxes)
    assert all(
        0 <= top <= 100 - height and 0 <= left <= 100 - width for top, left, height, width in boxes
    )
    assert 180 <= areas.min() < 260 and 3200 < areas.max() <= 3400
    aspects = np.array([height / width for _, _, height, width in boxes])
    assert 0.28 < aspects.min() < 0.33 and 3.0 < aspects.max() < 3.6


def test_area_is_shared_among_several_boxes() -> None:
    rng = default_rng(0)
    areas = [
        box[2] * box[3] for box in (draw_box(100, 100, rng=rng, count=4) for _ in range(500)) if box
    ]
    assert max(areas) <= 10_000 / 3 / 4 * 1.1


def numbers_of_boxes(monkeypatch: pytest.MonkeyPatch, max_count: int, images: int) -> np.ndarray:
    """How many boxes each image got, of which it knew that they share the area."""
    shared = []
    monkeypatch.setattr(erasing, "draw_box", lambda *_, rng, count: shared.append(count))
    rng, numbers = default_rng(0), []
    for _ in range(images):
        shared.clear()
        random_erasing(
            np.zeros((3, 8, 8), np.float32),
            rng=rng,
            probability=1.0,
            mode="const",
            max_count=max_count,
        )
        assert shared == [len(shared)] * len(shared)
        numbers.append(len(shared))
    return np.array(numbers)


def test_the_number_of_boxes_is_drawn_evenly_up_to_the_highest(monkeypatch) -> None:
    """timm data/random_erasing.py: randint(min_count, max_count), of which create_transform gives
    the second, and the first is 1.
    """
    counts = np.bincount(numbers_of_boxes(monkeypatch, 4, 4000), minlength=5)
    assert counts[0] == 0 and len(counts) == 5
    assert counts[1:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)
    assert set(numbers_of_boxes(monkeypatch, 1, 50)) == {1}


def test_the_number_of_boxes_is_drawn_before_them() -> None:
    image = random_erasing(
        np.ones((3, 64, 64), np.float32),
        rng=default_rng(1),
        probability=1.0,
        mode="const",
        max_count=3,
    )
    rng, expected = default_rng(1), np.ones((3, 64, 64), np.float32)
    rng.random()
    count = int(rng.integers(1, 4))
    for _ in range(count):
        top, left, height, width = draw_box(64, 64, rng=rng, count=count)
        expected[:, top : top + height, left : left + width] = 0
    assert count == 3 and (image == expected).all()


def test_one_box_needs_no_draw_of_their_number() -> None:
    """So that images of the recipes, all with one box, are those of before."""
    rng, other = default_rng(7), default_rng(7)
    random_erasing(
        np.ones((3, 64, 64), np.float32), rng=rng, probability=1.0, mode="const", max_count=1
    )
    other.random()
    draw_box(64, 64, rng=other, count=1)
    assert rng.random() == other.random()


@pytest.mark.parametrize(("mode", "spread"), [("pixel", 1.0), ("rand", 0.0), ("const", 0.0)])
def test_erasing_fills_in_units_of_the_normalised_image(mode: str, spread: float) -> None:
    image = np.full((3, 64, 64), 7, np.float32)
    erased = random_erasing(image, rng=default_rng(3), probability=1.0, mode=mode, max_count=1)
    inside = erased[:, (erased != 7).all(axis=0)]
    assert inside.std(axis=1).mean() == pytest.approx(spread, abs=0.15)
    assert (inside == 0).all() == (mode == "const")
    assert len(np.unique(inside[:, 0])) == (1 if mode == "const" else 3)


def test_erasing_happens_with_its_probability() -> None:
    rng = default_rng(0)
    touched = [
        random_erasing(
            np.full((3, 16, 16), 7, np.float32),
            rng=rng,
            probability=0.25,
            mode="const",
            max_count=1,
        ).min()
        == 0
        for _ in range(2000)
    ]
    assert np.mean(touched) == pytest.approx(0.25, abs=0.03)


def test_erasing_comes_after_normalisation() -> None:
    cfg = make_config("augment=none", "augment.re_prob=1.0")
    transform = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    white = np.full((32, 32, 4), 255, np.uint8)
    values = np.concatenate(
        [array[array != 1] for array in (transform(white, default_rng(seed)) for seed in range(50))]
    )
    assert (values.mean(), values.std()) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))
