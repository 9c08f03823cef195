from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data import transforms
from beit_exp.data.build import (
    Shard,
    TrainStream,
    balanced_order,
    eval_batches,
    make_ahead,
    train_batches,
)
from beit_exp.data.decoding import load_pixels
from beit_exp.data.listing import list_classes
from beit_exp.errors import UserError


def config_for(folder: Path, *overrides: str) -> Config:
    return make_config(f"dataset.data_url={folder}", *overrides)


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
    assert (images == np.stack([transform(load_pixels(path)) for path in paths])).all()
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
        UserError,
        match="train.batch_size = 128: the 80 training images make no full step .*Take a smaller",
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


@pytest.mark.parametrize("seed", range(20))
def test_balanced_sampling_shows_every_class_as_often(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(10, rng.integers(1, 200), p=rng.dirichlet(np.full(10, 0.3)))
    order = balanced_order(labels, rng)
    assert len(order) == len(labels)
    shown = np.bincount(labels[order])[np.unique(labels)]
    assert shown.max() - shown.min() <= 1
    times = np.bincount(order, minlength=len(labels))
    for label in np.unique(labels):  # no image again before all of its class were there
        assert np.ptp(times[labels == label]) <= 1


def test_two_processes_see_the_balanced_order_of_one(few_digits: Path) -> None:
    balanced = ("train.sampling=balanced", "augment=none")
    (one, _), *_ = batches_of(few_digits, *balanced, "train.batch_size=8")
    halves = [
        batches_of(few_digits, *balanced, "train.batch_size=4", shard=Shard(rank, 2))[0][0]
        for rank in (0, 1)
    ]
    np.testing.assert_array_equal(one, np.concatenate(halves))


def test_a_shared_file_system_is_asked_for_the_list_once_and_then_for_each_image_once(
    few_digits: Path,
) -> None:
    """Each request to a slow one is a wait: two epochs make none but to open their 160 images."""
    cfg = config_for(few_digits, "dataset.name=image_folder", "train.batch_size=16")
    stream = TrainStream(list_classes(few_digits / "train"), cfg, Shard(0, 1))
    asked: list[str] = []
    is_watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if is_watching and event in ("open", "os.listdir", "os.scandir"):
            place = str(arguments[0])
            if place.startswith(str(few_digits)):
                asked.append(f"{event} {place}")

    sys.addaudithook(watch)  # it stays, so it is switched off
    batches = list(train_batches(stream, cfg, first=0, last=10))
    is_watching = False
    assert len(batches) == 10
    assert sorted(asked) == sorted(2 * [f"open {path}" for path in stream.images.paths])
