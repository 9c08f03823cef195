"""From settings to batches: a training stream that can start anywhere, and an evaluation that skips nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mindspore.dataset as ds
import numpy as np

from beit_exp.config import Config, UserError
from beit_exp.data.mixup import mix_batch
from beit_exp.data.sources import ImageList
from beit_exp.data.transforms import Transform, load_image, make_eval_transform, make_train_transform
from beit_exp.randomness import Stream, generator

Batch = tuple[np.ndarray, np.ndarray]  # images (B, 3, S, S) float32, and targets


@dataclass(frozen=True)
class Shard:
    """This process's part of the work: number `rank` of `size`."""

    rank: int
    size: int


class TrainStream:
    """All training samples of a run in the order of training; place p is the same image, drawn the same, always.

    A global batch is `batch_size` images on each process; an epoch is a whole number of optimizer steps, so the
    images left over at its end wait for another epoch's order.
    """

    def __init__(self, images: ImageList, cfg: Config, shard: Shard) -> None:
        self.images = images
        self.seed = cfg.seed
        self.shuffle = cfg.train.shuffle
        self.batch_size = cfg.train.batch_size
        self.shard = shard
        self.global_batch = cfg.train.batch_size * shard.size
        self.steps_per_epoch = len(images) // (self.global_batch * cfg.train.accumulate_steps)
        self.batches_per_epoch = self.steps_per_epoch * cfg.train.accumulate_steps
        self.transform: Transform = make_train_transform(cfg.augment, cfg.dataset, image_size=cfg.model.image_size)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))
        if self.steps_per_epoch == 0:
            raise UserError(
                f"train.batch_size = {cfg.train.batch_size}: the {len(images)} training images make no full step of "
                f"{self.global_batch * cfg.train.accumulate_steps} images (batch_size x devices x accumulate_steps)"
            )

    @property
    def slots(self) -> np.ndarray:
        """(B,) places of this process's images in a global batch."""
        return self.shard.rank * self.batch_size + np.arange(self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Image numbers in the order of an epoch."""
        kept_epoch, order = self._order
        if kept_epoch != epoch:
            count = len(self.images)
            order = generator(self.seed, Stream.order, epoch).permutation(count) if self.shuffle else np.arange(count)
            self._order = (epoch, order)
        return order

    def sample(self, batch_number: int, place: int) -> tuple[np.ndarray, np.int32]:
        """(3, S, S) image and label at a place of this process's share of a batch, counted from the run's start."""
        epoch, batch_in_epoch = divmod(batch_number, self.batches_per_epoch)
        slot = self.shard.rank * self.batch_size + place
        index = self.order(epoch)[batch_in_epoch * self.global_batch + slot]
        rng = generator(self.seed, Stream.sample, batch_number, slot)
        return self.transform(load_image(self.images.paths[index]), rng), self.images.labels[index]


def train_batches(
    stream: TrainStream, cfg: Config, *, first: int, last: int
) -> Iterator[Batch]:
    """Batches number `first` to `last` - 1 of the run: images and (B, K) soft targets, mixed as configured."""

    def mix(images: list[np.ndarray], labels: list[np.ndarray], info: ds.BatchInfo) -> Batch:
        rng = generator(cfg.seed, Stream.mixup, first + info.get_batch_num(), stream.shard.rank)
        return mix_batch(
            np.stack(images), np.array(labels), cfg.augment, num_classes=cfg.dataset.num_classes, rng=rng
        )

    count = (last - first) * stream.batch_size
    rows = _Rows(count, lambda row: stream.sample(first + row // stream.batch_size, row % stream.batch_size))
    return _batches(rows, stream.batch_size, mix, cfg)


def eval_batches(images: ImageList, cfg: Config, shard: Shard) -> Iterator[Batch]:
    """Every `size`-th image from `rank` on, each once: images and (B,) labels; the last batch may be smaller."""
    transform = make_eval_transform(cfg.dataset, image_size=cfg.model.image_size)
    mine = np.arange(shard.rank, len(images), shard.size)
    rows = _Rows(len(mine), lambda row: (transform(load_image(images.paths[mine[row]])), images.labels[mine[row]]))
    return _batches(rows, cfg.train.batch_size, None, cfg)


class _Rows:
    """Random access for MindSpore's GeneratorDataset; keeps what a row raised, which MindSpore would bury."""

    def __init__(self, count: int, row: Callable[[int], tuple[np.ndarray, np.int32]]) -> None:
        self.count = count
        self.row = row
        self.failure: UserError | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int32]:
        try:
            return self.row(int(index))
        except UserError as error:
            self.failure = error
            raise


def _batches(rows: _Rows, batch_size: int, mix: Callable[..., Batch] | None, cfg: Config) -> Iterator[Batch]:
    if len(rows) == 0:
        return
    workers = min(cfg.hardware.num_parallel_workers, os.cpu_count() or 1)
    dataset = ds.GeneratorDataset(
        rows,
        ["image", "label"],
        sampler=ds.SequentialSampler(num_samples=len(rows)),
        num_parallel_workers=workers,
        python_multiprocessing=False,
    )
    if mix is None:
        dataset = dataset.batch(batch_size)
    else:
        dataset = dataset.batch(batch_size, drop_remainder=True, per_batch_map=mix, output_columns=["image", "target"])
    try:
        yield from dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)
    except RuntimeError as error:
        raise rows.failure or error from None
