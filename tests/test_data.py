from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, agree, make_config
from PIL import Image

from beit_exp.config.schema import Config
from beit_exp.data import mixup, transforms
from beit_exp.data.build import Shard, TrainStream, eval_batches, make_ahead, train_batches
from beit_exp.data.erasing import draw_box, random_erasing
from beit_exp.data.mixup import mix_batch, soft_targets
from beit_exp.data.sources import list_classes, list_images, list_labelled, open_split
from beit_exp.errors import UserError


def rng_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def config_for(folder: Path, *overrides: str) -> Config:
    return make_config(f"dataset.data_url={folder}", *overrides)


# --- transforms


@pytest.mark.parametrize("size", [224, 64])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_evaluation_transform_is_the_official_one(name: str, size: int) -> None:
    cfg = make_config("dataset.crop_pct=0.875").dataset
    found = transforms.make_eval_transform(cfg, image_size=size)(
        transforms.load_image(GOLDEN / "eval" / f"{name}.jpg")
    )
    expected = np.load(GOLDEN / "eval_transform.npz")[f"{name}/size{size}"].astype(np.float32)
    agree("evaluation transform", found, expected, within=2e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "LA", "I;16", "1"])
def test_every_colour_mode_is_read_as_rgb(mode: str, photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    if mode == "I;16":
        Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        photo.convert(mode).save(path)
    image = transforms.load_image(path)
    assert (image.mode, image.size) == ("RGB", photo.size)
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.abs(np.asarray(image).astype(int) - np.asarray(photo)).mean() < 12
    if mode == "I;16":
        assert (np.asarray(image)[..., 0] == np.asarray(photo.convert("L"))).all()


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"not a picture")
    with pytest.raises(UserError, match="broken.jpg cannot be read as an image"):
        transforms.load_image(path)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes((GOLDEN / "eval" / "rocket.jpg").read_bytes()[:5000])
    with pytest.raises(UserError, match="cut.jpg cannot be read as an image"):
        transforms.load_image(path)


def test_random_crop_stays_inside_and_keeps_its_area_and_shape() -> None:
    rng = rng_of()
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
    box = transforms.draw_crop(1000, 10, [0.9, 1.0], [3 / 4, 4 / 3], rng=rng_of())
    assert box == (493, 0, 506, 10)


def test_training_transform_without_augmentation_is_the_evaluation_transform(
    photo: Image.Image,
) -> None:
    cfg = make_config("augment=none")
    train = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    evaluation = transforms.make_eval_transform(cfg.dataset, image_size=32)
    assert (train(photo, rng_of()) == evaluation(photo)).all()


def test_flip_mirrors_left_and_right(photo: Image.Image) -> None:
    cfg = make_config("augment=none", "augment.hflip=1.0")
    found = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)(
        photo, rng_of()
    )
    plain = transforms.make_eval_transform(cfg.dataset, image_size=32)(photo)
    assert (found == plain[:, :, ::-1]).all()


def test_normalisation_is_per_channel() -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 51))
    found = transforms.normalise(image, [0.5, 0.4, 0.3], [0.5, 0.2, 0.1])
    np.testing.assert_allclose(found[:, 0, 0], [1.0, -2.0, -1.0], atol=1e-6)


def test_random_interpolation_uses_both(photo: Image.Image) -> None:
    cfg = make_config(
        "augment=none", "augment.interpolation=random", "augment.crop_scale=[1.0,1.0]"
    )
    transform = transforms.make_train_transform(cfg.augment, cfg.dataset, image_size=32)
    kinds = {transform(photo, rng_of(seed))[:, ::4, ::4].tobytes() for seed in range(12)}
    assert len(kinds) > 1


# --- erasing


def test_erased_boxes_are_smaller_than_the_image_and_within_their_share() -> None:
    rng = rng_of()
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
    rng = rng_of()
    areas = [
        box[2] * box[3] for box in (draw_box(100, 100, rng=rng, count=4) for _ in range(500)) if box
    ]
    assert max(areas) <= 10_000 / 3 / 4 * 1.1


@pytest.mark.parametrize(("mode", "spread"), [("pixel", 1.0), ("rand", 0.0), ("const", 0.0)])
def test_erasing_fills_in_units_of_the_normalised_image(mode: str, spread: float) -> None:
    image = np.full((3, 64, 64), 7, np.float32)
    erased = random_erasing(image, rng=rng_of(3), probability=1.0, mode=mode, count=1)
    inside = erased[:, (erased != 7).all(axis=0)]
    assert inside.std(axis=1).mean() == pytest.approx(spread, abs=0.15)
    assert (inside == 0).all() == (mode == "const")
    assert len(np.unique(inside[:, 0])) == (1 if mode == "const" else 3)


def test_erasing_happens_with_its_probability() -> None:
    rng = rng_of()
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
        [array[array != 1] for array in (transform(white, rng_of(seed)) for seed in range(50))]
    )
    assert (values.mean(), values.std()) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))


# --- mixup and targets


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


def mixed_lams(*overrides: str, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(share of itself by its pixels, by its targets) for every image of a mixed batch."""
    cfg = make_config("augment=none", *overrides).augment
    images = np.zeros((size, 3, 32, 32), np.float32)
    images[: size // 2] = 1  # every image's partner is in the other half
    labels = np.arange(size) // (size // 2)
    mixed, targets = mix_batch(images, labels, cfg, num_classes=2, rng=rng_of())
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
    rng = rng_of()
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
    rng = rng_of()
    is_cutmix = [mixup.draw_mix(cfg, (32, 32), rng=rng)[1] is not None for _ in range(2000)]
    assert np.mean(is_cutmix) == pytest.approx(0.25, abs=0.03)


def test_an_odd_batch_cannot_be_mixed() -> None:
    cfg = make_config("augment.mix_up=1.0").augment
    with pytest.raises(ValueError, match="mixup needs an even batch, got 3 images"):
        mix_batch(
            np.zeros((3, 3, 8, 8), np.float32), np.zeros(3, int), cfg, num_classes=2, rng=rng_of()
        )


# --- sources and batches


def test_digits_are_1437_and_360_real_images(digits: Path) -> None:
    train, val = list_classes(digits / "train"), list_classes(digits / "val")
    assert (len(train), len(val), train.classes) == (1437, 360, [str(digit) for digit in range(10)])
    assert np.asarray(Image.open(val.paths[0])).shape == (8, 8)


def test_files_are_listed_in_sorted_order_without_strangers(
    tmp_path: Path, photo: Image.Image
) -> None:
    for name in ("b/2.png", "b/1.jpg", "a/deep/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / name)
    (tmp_path / "b" / "README.txt").write_text("not an image")
    (tmp_path / "b" / ".hidden.png").write_text("not an image")
    found = list_classes(tmp_path)
    assert [path.removeprefix(f"{tmp_path}/") for path in found.paths] == [
        "a/deep/3.png",
        "b/1.jpg",
        "b/2.png",
    ]
    assert found.labels.tolist() == [0, 1, 1]
    assert list_images(tmp_path) == found.paths


def test_an_empty_class_folder_is_named(few_digits: Path, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="the class folder .*cat holds no image"):
        list_classes(tmp_path)


def test_a_wrong_number_of_classes_is_named(few_digits: Path) -> None:
    cfg = config_for(few_digits, "dataset.name=image_folder", "dataset.num_classes=9")
    with pytest.raises(UserError, match="dataset.num_classes = 9: .*train holds 10 class folders"):
        open_split(cfg.dataset, "train")


def test_a_missing_folder_says_how_to_try_the_quickstart(tmp_path: Path) -> None:
    cfg = config_for(tmp_path, "dataset.name=image_folder")
    with pytest.raises(UserError, match=r"train is missing.*run the quickstart: python launch.py"):
        open_split(cfg.dataset, "train")


def batches_of(
    folder: Path, *overrides: str, first: int = 0, last: int = 6, shard: Shard | None = None
):
    cfg = config_for(folder, "dataset.name=image_folder", "train.batch_size=16", *overrides)
    stream = TrainStream(list_classes(folder / "train"), cfg, shard or Shard(0, 1))
    return list(train_batches(stream, cfg, first=first, last=last))


@pytest.mark.parametrize("workers", [1, 2])
def test_stream_is_the_same_for_any_number_of_workers(few_digits: Path, workers: int) -> None:
    one = batches_of(few_digits, "augment=finetune_mixup", "hardware.num_parallel_workers=1")
    other = batches_of(
        few_digits, "augment=finetune_mixup", f"hardware.num_parallel_workers={workers}"
    )
    assert all(
        (a == b).all()
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def test_stream_continues_from_any_batch(few_digits: Path) -> None:
    whole = batches_of(few_digits, "augment=finetune_mixup", last=8)
    rest = batches_of(few_digits, "augment=finetune_mixup", first=3, last=8)
    assert all(
        (a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(whole[3:], rest, strict=True)
    )


def test_an_epoch_holds_every_image_once_in_a_new_order(few_digits: Path) -> None:
    batches = batches_of(few_digits, "augment=none", last=10)
    first, second = (
        np.concatenate([images for images, _ in part]) for part in (batches[:5], batches[5:])
    )
    assert {image.tobytes() for image in first} == {image.tobytes() for image in second}
    assert len({image.tobytes() for image in first}) == 80
    assert (first != second).any()


def test_unshuffled_stream_reads_files_in_sorted_order(few_digits: Path) -> None:
    ((images, targets), *_) = batches_of(few_digits, "augment=none", "train.shuffle=false")
    cfg = config_for(few_digits)
    transform = transforms.make_eval_transform(cfg.dataset, image_size=32)
    paths = list_classes(few_digits / "train").paths[:16]
    assert (images == np.stack([transform(transforms.load_image(path)) for path in paths])).all()
    assert targets.argmax(axis=1).tolist() == [0] * 8 + [1] * 8


def test_augmentation_of_an_image_changes_from_epoch_to_epoch(few_digits: Path) -> None:
    batches = batches_of(few_digits, "augment=light", "train.shuffle=false", last=10)
    assert (batches[0][0] != batches[5][0]).any()


def test_shards_are_the_parts_of_the_whole_batch(few_digits: Path) -> None:
    whole = batches_of(few_digits, "augment=light", last=4)
    parts = [
        batches_of(few_digits, "augment=light", "train.batch_size=8", last=4, shard=Shard(rank, 2))
        for rank in (0, 1)
    ]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert (batch[0] == np.concatenate([images for images, _ in halves])).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_evaluation_reads_every_image_once_on_any_number_of_processes(
    few_digits: Path, size: int
) -> None:
    cfg = config_for(few_digits, "train.batch_size=16")
    images = list_classes(few_digits / "val")
    labels = [
        labels for rank in range(size) for _, labels in eval_batches(images, cfg, Shard(rank, size))
    ]
    assert sorted(np.concatenate(labels).tolist()) == sorted(images.labels.tolist())


def test_too_few_images_for_a_step_is_an_error(few_digits: Path) -> None:
    with pytest.raises(
        UserError, match="train.batch_size = 128: the 80 training images make no full step"
    ):
        batches_of(few_digits, "train.batch_size=128")


def test_an_unreadable_training_image_stops_with_its_name(few_digits: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(few_digits, folder)
    victim = next((folder / "train" / "3").iterdir())
    victim.write_bytes(b"")
    with pytest.raises(UserError, match=f"{victim.name} cannot be read as an image"):
        batches_of(folder)


def test_work_ahead_is_bounded_and_in_order() -> None:
    started = []

    def make(number: int):
        started.append(number)
        return np.array(number), np.array(0)

    found = []
    for value, _ in make_ahead(make, range(50), workers=2):
        found.append(int(value))
        assert len(started) <= len(found) + 3
    assert found == list(range(50))


LABELLED = {
    "a class no folder has": (
        "a.png 0\nb.png 1\nc.png 7\n",
        "has the class '7'; dataset.num_classes = 2",
    ),
    "an image without a class": (
        "a.png 0\nb.png 1\n",
        r"names no class for .*c\.png \(1 such images\)",
    ),
    "a line without a class": (
        "a.png 0\nb.png\nc.png 1\n",
        "must hold one line `<image> <class>` for each image",
    ),
    "too few classes": (
        "a.png cat\nb.png cat\nc.png cat\n",
        "has 1 classes; dataset.num_classes = 2",
    ),
}


def flat_folder(folder: Path) -> Path:
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("problem", LABELLED)
def test_a_wrong_label_list_is_told(tmp_path: Path, problem: str) -> None:
    text, complaint = LABELLED[problem]
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    with pytest.raises(UserError, match=complaint):
        list_labelled(flat_folder(tmp_path), labels, 2, [])


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("b.png 0\na.png 1\nc.png 1\n", [], ([1, 0, 1], ["0", "1"])),
        ("a.png,dog\nb.png,cat\nc.png,dog\n", [], ([1, 0, 1], ["cat", "dog"])),
        ("val/a.png 1\nval/b.png 1\nval/c.png 0\n", ["n01", "n02"], ([1, 1, 0], ["n01", "n02"])),
        ("a.png n02\nb.png n01\nc.png n02\n", ["n01", "n02"], ([1, 0, 1], ["n01", "n02"])),
    ],
)
def test_labels_are_names_or_numbers(
    tmp_path: Path, text: str, classes: list[str], expected: tuple
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    found = list_labelled(flat_folder(tmp_path), labels, 2, classes)
    assert (found.labels.tolist(), found.classes) == expected
    assert [Path(path).name for path in found.paths] == ["a.png", "b.png", "c.png"]
