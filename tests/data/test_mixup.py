from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import agree
from numpy.random import default_rng
from settings import GOLDEN, make_config

from beit_exp.data import mixup
from beit_exp.data.mixup import mix_batch, multi_hot_targets, soft_targets


def test_smoothed_targets_are_timms() -> None:
    targets = soft_targets(np.array([3]), num_classes=1000, smoothing=0.1)
    assert (targets[0, 3], targets[0, 0]) == (np.float32(0.9001), np.float32(0.0001))
    assert targets.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_and_targets_are_timms(kind: str) -> None:
    golden = np.load(GOLDEN / "mixup.npz")
    images, targets = (
        golden["images"],
        soft_targets(golden["labels"], num_classes=10, smoothing=0.1),
    )
    if kind == "mixup":
        lam = float(golden["mixup/lam"])
        mixed = mixup.mixup(images, lam)
    else:
        box = tuple(int(edge) for edge in golden["cutmix/box_y0_y1_x0_x1"])
        lam = mixup.corrected_lam(box, *images.shape[2:])
        assert lam == pytest.approx(float(golden["cutmix/corrected_lam"]), abs=1e-12)
        mixed = mixup.cutmix(images, box)
    agree("mixup and cutmix images", mixed, golden[f"{kind}/images"], within=1e-6)
    found = mixup.mix_targets(targets, np.full(len(images), lam))
    agree("mixup and cutmix targets", found, golden[f"{kind}/targets"], within=1e-6)


@pytest.mark.parametrize(
    ("lam", "center", "box", "corrected"),
    [
        (0.3, (112, 112), (19, 205, 19, 205), 0.310507),
        (0.3, (10, 200), (0, 103, 107, 224), 0.759825),
        (0.9, (223, 0), (188, 224, 0, 35), 0.974888),
    ],
)
def test_cutmix_box_is_clipped_and_its_share_corrected(lam, center, box, corrected) -> None:
    found = mixup.cutmix_box(224, 224, lam, *center)
    assert found == box
    assert mixup.corrected_lam(found, 224, 224) == pytest.approx(corrected, abs=1e-6)


BOXES = json.loads((GOLDEN / "cutmix_boxes.json").read_text())["boxes"]


@pytest.mark.parametrize("row", BOXES, ids=lambda row: f"{row['size']} {row['center']}")
def test_cutmix_box_is_that_of_timm_0_3_2_around_the_centre_that_it_drew(row: dict) -> None:
    found = mixup.cutmix_box(*row["size"], row["lam"], *row["center"])
    assert list(found) == row["box"]
    assert mixup.corrected_lam(found, *row["size"]) == pytest.approx(row["corrected_lam"], abs=0)


def test_the_golden_boxes_tell_odd_sides_and_all_borders() -> None:
    """timm 1.0 would make each box with an odd side another one, unless a border clips it."""
    sides = [int(row["size"][0] * np.sqrt(1 - row["lam"])) for row in BOXES]
    assert 0.3 < np.mean([side % 2 for side in sides]) < 0.7
    assert any(row["box"][0] == 0 for row in BOXES)
    assert any(row["box"][1] == row["size"][0] for row in BOXES)


def test_the_centre_of_a_cutmix_box_is_anywhere_in_the_image(monkeypatch) -> None:
    centers = []
    monkeypatch.setattr(
        mixup, "cutmix_box", lambda _h, _w, _lam, *center: centers.append(center) or (0, 1, 0, 1)
    )
    cfg, rng = make_config("augment=none", "augment.cutmix=1.0").augment, default_rng(0)
    for _ in range(4000):
        mixup.draw_mix(cfg, (4, 8), rng=rng)
    counts = np.unique(np.array(centers), axis=0, return_counts=True)[1]
    assert len(counts) == 4 * 8 and counts.min() > 0.7 * counts.mean()


def mixed_lams(*overrides: str, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(share of itself by its pixels, by its targets) for every image of a mixed batch."""
    cfg = make_config("augment=none", *overrides).augment
    images = np.zeros((size, 3, 32, 32), np.float32)
    images[: size // 2] = 1  # every image's partner is in the other half
    labels = np.arange(size) // (size // 2)
    mixed, targets = mix_batch(images, labels, cfg, num_classes=2, rng=default_rng(0))
    own = images[:, 0, 0, 0]
    by_pixels = 1 - np.abs(mixed.mean(axis=(1, 2, 3)) - own)
    return by_pixels, targets[np.arange(size), labels]


@pytest.mark.parametrize("method", [("augment.mix_up=0.8",), ("augment.cutmix=1.0",)])
@pytest.mark.parametrize(("mode", "different"), [("batch", 1), ("pair", 32), ("elem", 64)])
def test_mixing_mode_says_how_many_draws_a_batch_has(
    mode: str, different: int, method: tuple[str]
) -> None:
    by_pixels, by_targets = mixed_lams(f"augment.mixup_mode={mode}", *method)
    np.testing.assert_allclose(by_pixels, by_targets, atol=1e-5)
    assert len(np.unique(by_targets)) <= different
    assert len(np.unique(np.round(by_targets, 6))) >= 0.6 * different
    if mode == "pair":
        assert (by_targets == by_targets[::-1]).all()


def test_cutmix_minmax_bounds_the_box() -> None:
    rng = default_rng(0)
    boxes = np.array([mixup.draw_minmax_box(100, 100, [0.2, 0.8], rng=rng) for _ in range(500)])
    sides = np.stack([boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]])
    assert sides.min() == 20 and sides.max() == 79
    assert boxes.min() >= 0 and boxes.max() <= 100
    _, shares = mixed_lams(
        "augment.cutmix=1.0", "augment.cutmix_minmax=[0.4,0.5]", "augment.mixup_mode=elem"
    )
    assert ((shares >= 1 - 0.5**2) & (shares <= 1 - 0.36**2)).all()


def test_mixing_happens_with_its_probability() -> None:
    _, shares = mixed_lams(
        "augment.mix_up=1.0", "augment.mixup_prob=0.5", "augment.mixup_mode=elem", size=512
    )
    assert (shares == 1).mean() == pytest.approx(0.5, abs=0.07)


def test_switch_chooses_between_mixup_and_cutmix() -> None:
    cfg = make_config(
        "augment.mix_up=1.0", "augment.cutmix=1.0", "augment.switch_prob=0.25"
    ).augment
    rng = default_rng(0)
    is_cutmix = [mixup.draw_mix(cfg, (32, 32), rng=rng)[1] is not None for _ in range(2000)]
    assert np.mean(is_cutmix) == pytest.approx(0.25, abs=0.03)


def test_an_odd_batch_cannot_be_mixed() -> None:
    cfg = make_config("augment.mix_up=1.0").augment
    with pytest.raises(ValueError, match="mixup needs an even batch, got 3 images"):
        mix_batch(
            np.zeros((3, 3, 8, 8), np.float32),
            np.zeros(3, int),
            cfg,
            num_classes=2,
            rng=default_rng(0),
        )


def test_several_labels_are_smoothed_towards_one_half_and_mixed_each_by_itself() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    np.testing.assert_allclose(
        multi_hot_targets(labels, smoothing=0.1),
        [[0.95, 0.05, 0.95], [0.05, 0.05, 0.05]],
        rtol=1e-6,
    )
    cfg = make_config("augment.mix_up=0.8", "augment.label_smoothing=0.1").augment
    images = np.stack([np.zeros((3, 4, 4)), np.ones((3, 4, 4))]).astype(np.float32)
    mixed, targets = mix_batch(images, labels, cfg, num_classes=3, rng=np.random.default_rng(0))
    share = float(mixed[1, 0, 0, 0])  # of the image itself: its partner is black
    assert 0 < share < 1
    np.testing.assert_allclose(targets[0], 0.05 + share * np.array([0.9, 0, 0.9]), rtol=1e-5)
    np.testing.assert_allclose(targets[1], 0.05 + (1 - share) * np.array([0.9, 0, 0.9]), rtol=1e-5)
