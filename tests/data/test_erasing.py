from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image
from settings import make_config

from beit_exp.data import transforms
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


@pytest.mark.parametrize(("mode", "spread"), [("pixel", 1.0), ("rand", 0.0), ("const", 0.0)])
def test_erasing_fills_in_units_of_the_normalised_image(mode: str, spread: float) -> None:
    image = np.full((3, 64, 64), 7, np.float32)
    erased = random_erasing(image, rng=default_rng(3), probability=1.0, mode=mode, count=1)
    inside = erased[:, (erased != 7).all(axis=0)]
    assert inside.std(axis=1).mean() == pytest.approx(spread, abs=0.15)
    assert (inside == 0).all() == (mode == "const")
    assert len(np.unique(inside[:, 0])) == (1 if mode == "const" else 3)


def test_erasing_happens_with_its_probability() -> None:
    rng = default_rng(0)
    touched = [
        random_erasing(
            np.full((3, 16, 16), 7, np.float32), rng=rng, probability=0.25, mode="const", count=1
        ).min()
        == 0
        for _ in range(2000)
    ]
    assert np.mean(touched) == pytest.approx(0.25, abs=0.03)


def test_erasing_comes_after_normalisation() -> None:
    cfg = make_config("augment=none", "augment.re_prob=1.0")
    transform = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    white = Image.new("RGB", (32, 32), (255, 255, 255))
    values = np.concatenate(
        [array[array != 1] for array in (transform(white, default_rng(seed)) for seed in range(50))]
    )
    assert (values.mean(), values.std()) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))
