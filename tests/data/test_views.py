from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from settings import make_config, pretraining

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.listing import ImageList, list_classes
from beit_exp.data.sources import open_split, training_images
from beit_exp.data.views import eval_masks, eval_views, train_masks, train_views


def stream_of(cfg: Config, rank: int = 0, size: int = 1) -> TrainStream:
    return TrainStream(training_images(cfg), cfg, Shard(rank, size))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> ImageList:
    """Four large smooth pictures, as class folders."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(4):
        y, x = np.mgrid[0:300, 0:400]
        waves = [
            np.sin((x + 40 * number) / 30) + np.cos(y / (20 + 5 * number)),
            np.sin(x * y / 9e3),
            np.cos(x / 50),
        ]
        pixels = np.clip(127 + 60 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
        path = folder / str(number % 2) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return list_classes(folder)


@pytest.mark.parametrize("is_training", [True, False])
def test_both_views_show_the_same_crop(photographs: ImageList, is_training: bool) -> None:
    cfg = make_config(
        "experiment=pretrain_base",
        "tokenizer.weights=x",
        "train.batch_size=4",
        "train.accumulate_steps=1",
    )
    if is_training:
        views = next(train_views(TrainStream(photographs, cfg, Shard(0, 1)), cfg, first=0, last=1))
    else:
        views = next(eval_views(photographs, cfg, Shard(0, 1)))
    assert views.images.shape == (4, 3, 224, 224) and views.tokenizer_images.shape == (
        4,
        3,
        112,
        112,
    )
    halved = views.images.reshape(4, 3, 112, 2, 112, 2).mean(axis=(3, 5)) * 0.5 + 0.5
    assert np.abs(halved - views.tokenizer_images).mean() < 0.01


def test_beit_v2s_tokenizer_sees_the_networks_own_pixels(few_digits) -> None:
    cfg = pretraining(few_digits, "tokenizer=vqkd_small", "dataset.interpolation=bicubic")
    for views in (
        next(train_views(stream_of(cfg), cfg, first=0, last=1)),
        next(eval_views(open_split(cfg, "val"), cfg, Shard(0, 1))),
    ):
        assert views.tokenizer_images.min() >= 0 and views.tokenizer_images.max() <= 1
        np.testing.assert_allclose(views.images * 0.5 + 0.5, views.tokenizer_images, atol=1e-6)


def test_views_and_masks_do_not_depend_on_the_number_of_devices(few_digits) -> None:
    whole_cfg, half_cfg = (
        pretraining(few_digits, "train.batch_size=16"),
        pretraining(few_digits, "train.batch_size=8"),
    )
    whole = stream_of(whole_cfg)
    halves = [stream_of(half_cfg, rank, 2) for rank in range(2)]
    views = list(train_views(whole, whole_cfg, first=4, last=7))  # over the end of an epoch
    masks = list(train_masks(whole, whole_cfg, first=4, last=7))
    parts = [list(train_views(half, half_cfg, first=4, last=7)) for half in halves]
    part_masks = [list(train_masks(half, half_cfg, first=4, last=7)) for half in halves]
    for number in range(3):
        images = np.concatenate([part[number].images for part in parts])
        tokenizer_images = np.concatenate([part[number].tokenizer_images for part in parts])
        np.testing.assert_array_equal(images, views[number].images)
        np.testing.assert_array_equal(tokenizer_images, views[number].tokenizer_images)
        np.testing.assert_array_equal(
            np.concatenate([part[number] for part in part_masks]), masks[number]
        )
    assert (masks[0] != masks[1]).any()


def test_an_image_is_evaluated_under_the_same_mask_whatever_the_device(few_digits) -> None:
    cfg = pretraining(few_digits)
    images = open_split(cfg, "val")
    whole = np.concatenate(list(eval_masks(images, cfg, Shard(0, 1))))
    assert len(whole) == len(images)
    for rank in range(3):
        np.testing.assert_array_equal(
            np.concatenate(list(eval_masks(images, cfg, Shard(rank, 3)))), whole[rank::3]
        )
    sizes = [len(views.images) for views in eval_views(images, cfg, Shard(0, 1))]
    assert sizes == [16, 16, 16, 2]
