"""Batches without labels, for pre-training: two views of each image, and the patches to hide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream, make_ahead
from beit_exp.data.decoding import load_pixels
from beit_exp.data.listing import ImageList
from beit_exp.data.masking import block_mask
from beit_exp.data.read_ahead import read_in_order
from beit_exp.data.transforms import ViewsTransform, make_views_transform
from beit_exp.randomness import Stream, generator

TOKEN_SIDE = 8  # pixels of a view for DALL-E's tokenizer under one visual token


class Views(NamedTuple):
    """A batch: G x G patches in `images`, as many tokens in `tokenizer_images`."""

    images: np.ndarray  # (B, 3, S, S) float32, normalised
    tokenizer_images: np.ndarray  # (B, 3, T, T) float32 in [0, 1]


def grid_of(cfg: Config) -> int:
    """Patches, and tokens, along a side."""
    return cfg.model.image_size // cfg.model.patch_size


def tokenizer_size(cfg: Config) -> int:
    """Pixels along a side of the tokenizer's view; BEiT v2's has the network's own patches."""
    match cfg.tokenizer.kind:
        case "dvae":
            return TOKEN_SIDE * grid_of(cfg)
        case "vqkd":
            return cfg.model.image_size
        case _:
            assert_never(cfg.tokenizer.kind)


def train_views(stream: TrainStream, cfg: Config, *, first: int, last: int) -> Iterator[Views]:
    """Batches number `first` to `last` - 1 of the run."""
    transform = _make_transform(cfg)

    def make(number: int) -> Views:
        views = _empty(cfg, stream.batch_size)
        stream.read_ahead(number)
        rng = generator(cfg.seed, Stream.sample)
        for place in range(stream.batch_size):
            pixels, _ = stream.draw(number, place, rng)
            transform(pixels, rng, views.images[place], views.tokenizer_images[place])
        return views

    return make_ahead(make, range(first, last), workers=cfg.hardware.num_parallel_workers)


def train_masks(stream: TrainStream, cfg: Config, *, first: int, last: int) -> Iterator[np.ndarray]:
    """(B, G, G) bool, true where a patch is hidden, of batches number `first` to `last` - 1."""

    def make(number: int) -> np.ndarray:
        return np.stack([_draw_mask(cfg, Stream.mask, number, int(slot)) for slot in stream.slots])

    return make_ahead(make, range(first, last), workers=1)


def eval_views(images: ImageList, cfg: Config, shard: Shard) -> Iterator[Views]:
    """Every `size`-th image from `rank` on, each once; the last batch may be smaller."""
    transform, reach = _make_transform(cfg), read_in_order(images)

    def make(index: int) -> Views:
        numbers = _eval_numbers(images, cfg, shard, index)
        reach(int(numbers[0]), int(numbers[-1]) + 1)
        views = _empty(cfg, len(numbers))
        for place, number in enumerate(numbers):
            transform(
                load_pixels(images.paths[number]),
                None,
                views.images[place],
                views.tokenizer_images[place],
            )
        return views

    count = -(-len(range(shard.rank, len(images), shard.size)) // cfg.train.batch_size)
    return make_ahead(make, range(count), workers=cfg.hardware.num_parallel_workers)


def eval_masks(images: ImageList, cfg: Config, shard: Shard) -> Iterator[np.ndarray]:
    """(B, G, G) bool for each batch of `eval_views`.

    An image has the same mask at every evaluation.
    """
    index = 0
    while len(numbers := _eval_numbers(images, cfg, shard, index)):
        yield np.stack([_draw_mask(cfg, Stream.eval_mask, int(number)) for number in numbers])
        index += 1


def _eval_numbers(images: ImageList, cfg: Config, shard: Shard, index: int) -> np.ndarray:
    """The images of a batch of the evaluation."""
    size = cfg.train.batch_size
    return np.arange(shard.rank, len(images), shard.size)[index * size : (index + 1) * size]


def _make_transform(cfg: Config) -> ViewsTransform:
    return make_views_transform(
        cfg.augment,
        cfg.dataset,
        image_size=cfg.model.image_size,
        tokenizer_size=tokenizer_size(cfg),
        interpolation=cfg.tokenizer.interpolation,
    )


def _draw_mask(cfg: Config, stream: Stream, *counters: int) -> np.ndarray:
    return block_mask(
        grid_of(cfg),
        count=cfg.mask.num_mask_patches,
        min_block=cfg.mask.min_mask_patches_per_block,
        is_exact=cfg.mask.exact,
        rng=generator(cfg.seed, stream, *counters),
    )


def _empty(cfg: Config, count: int) -> Views:
    side, token_side = cfg.model.image_size, tokenizer_size(cfg)
    return Views(
        np.empty((count, 3, side, side), np.float32),
        np.empty((count, 3, token_side, token_side), np.float32),
    )
