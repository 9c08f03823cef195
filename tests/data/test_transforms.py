from __future__ import annotations

import numpy as np
import pytest
from agreement import agree
from numpy.random import default_rng
from PIL import Image
from settings import GOLDEN, make_config

from beit_exp.data import randaugment, transforms
from beit_exp.data.decoding import load_pixels, pixels_of
from beit_exp.data.transforms import color_jitter


@pytest.mark.parametrize("size", [224, 64])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_evaluation_transform_is_the_official_one(name: str, size: int) -> None:
    cfg = make_config("dataset.crop_pct=0.875").dataset
    found = transforms.make_eval_transform(cfg, image_size=size)(
        load_pixels(GOLDEN / "eval" / f"{name}.jpg")
    )
    expected = np.load(GOLDEN / "eval_transform.npz")[f"{name}/size{size}"].astype(np.float32)
    agree("evaluation transform", found, expected, within=2e-3)


def test_random_crop_stays_inside_and_keeps_its_area_and_shape() -> None:
    rng = default_rng(0)
    boxes = np.array(
        [transforms.draw_crop(500, 375, [0.08, 1], [3 / 4, 4 / 3], rng=rng) for _ in range(3000)]
    )
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 500 and boxes[:, 3].max() <= 375
    share, ratio = width * height / (500 * 375), width / height
    assert 0.079 < share.min() < 0.1 and 0.9 < share.max() <= 1
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.35
    assert np.exp(np.log(ratio[share < 0.3]).mean()) == pytest.approx(1, abs=0.03)


def test_random_crop_of_a_long_image_falls_back_to_its_centre() -> None:
    box = transforms.draw_crop(1000, 10, [0.9, 1.0], [3 / 4, 4 / 3], rng=default_rng(0))
    assert box == (493, 0, 506, 10)


def test_training_transform_without_augmentation_is_the_evaluation_transform(
    photo: Image.Image,
) -> None:
    cfg = make_config("augment=none")
    train = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    evaluation = transforms.make_eval_transform(cfg.dataset, image_size=32)
    pixels = pixels_of(photo)
    assert (train(pixels, default_rng(0)) == evaluation(pixels)).all()


def test_flip_mirrors_left_and_right(photo: Image.Image) -> None:
    cfg = make_config("augment=none", "augment.hflip=1.0")
    found = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)(
        pixels_of(photo), default_rng(0)
    )
    plain = transforms.make_eval_transform(cfg.dataset, image_size=32)(pixels_of(photo))
    assert (found == plain[:, :, ::-1]).all()


def test_normalisation_is_per_channel() -> None:
    pixels = pixels_of(Image.new("RGB", (4, 4), (255, 0, 51)))
    mean, std = np.array([[0.5, 0.4, 0.3], [0.5, 0.2, 0.1]], np.float32)
    found = transforms.normalise(pixels, mean, std)
    np.testing.assert_allclose(found[:, 0, 0], [1.0, -2.0, -1.0], atol=1e-6)


def test_random_interpolation_uses_both(photo: Image.Image) -> None:
    cfg = make_config(
        "augment=none", "augment.interpolation=random", "augment.crop_scale=[1.0,1.0]"
    )
    transform = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    kinds = {
        transform(pixels_of(photo), default_rng(seed))[:, ::4, ::4].tobytes() for seed in range(12)
    }
    assert len(kinds) > 1


def test_the_crop_and_the_operations_draw_their_interpolation_apart(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str, Image.Resampling]] = []

    def crop(pixels, _size, resample, *, box):
        used.append(("crop", resample))
        return pixels

    def operation(pixels, name, _magnitude, *, sign, fill, interpolation):
        used.append((name, interpolation))
        return pixels

    monkeypatch.setattr(transforms, "resize", crop)
    monkeypatch.setattr(randaugment, "apply_operation", operation)
    monkeypatch.setattr(randaugment, "APPLY_PROBABILITY", 1.0)
    cfg = make_config("augment=finetune", "augment.interpolation=random", "augment.re_prob=0")
    transform = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    for seed in range(400):
        transform(pixels_of(photo), default_rng(seed))
    drawn = np.array([resample for _, resample in used]).reshape(400, 3)
    assert [name for name, _ in used[::3]] == ["crop"] * 400
    assert (drawn[:, 0] == drawn[:, 1]).mean() == pytest.approx(0.5, abs=0.1)


def test_jitter_changes_brightness_within_its_bounds_and_leaves_grey_grey() -> None:
    grey = pixels_of(Image.new("RGB", (8, 8), (100, 100, 100)))
    rng = default_rng(0)
    found = np.array([color_jitter(grey, 0.4, rng=rng)[0, 0, :3] for _ in range(300)])
    assert (found == found[:, :1]).all()
    assert found.min() >= 59 and found.max() <= 141
    assert found.min() < 65 and found.max() > 135 and abs(found.mean() - 100) < 3
    assert color_jitter(grey, 0.0, rng=rng) is grey
