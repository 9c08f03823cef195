"""From settings to batches.

A training stream that can start anywhere, and an evaluation that skips nobody.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import BadImages, Config
from beit_exp.data.decoding import load_pixels
from beit_exp.data.listing import ImageList
from beit_exp.data.mixup import mix_batch
from beit_exp.data.read_ahead import read_in_order
from beit_exp.data.transforms import make_eval_transform, make_train_transform
from beit_exp.data.windows import Windows, tell_mixing
from beit_exp.errors import UserError
from beit_exp.hardware.cores import num_working
from beit_exp.randomness import Stream, generator, restart

logger = logging.getLogger(__name__)

Batch = tuple[np.ndarray, np.ndarray]  # images (B, 3, S, S) float32, and targets
T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """This process's part of the work: number `rank` of `size`."""

    rank: int
    size: int


class TrainStream:
    """All training samples of a run in the order of training.

    Place p is the same image, drawn the same, always. A global batch is `batch_size` images on each
    process; an epoch is a whole number of optimizer steps, so the images left over at its end wait
    for another epoch's order.
    """

    def __init__(self, images: ImageList, cfg: Config, shard: Shard) -> None:
        self.images = images
        self.seed = cfg.seed
        self.shuffle = cfg.train.shuffle
        self.is_balanced = cfg.train.sampling == "balanced"
        self.batch_size = cfg.train.batch_size
        self.shard = shard
        self.global_batch = cfg.train.batch_size * shard.size
        self.steps_per_epoch = len(images) // (self.global_batch * cfg.train.accumulate_steps)
        self.batches_per_epoch = self.steps_per_epoch * cfg.train.accumulate_steps
        self.replaces_bad = _replaces(cfg.dataset.bad_images)
        self.bad_images: set[str] = set()
        self._orders: dict[int, np.ndarray] = {}
        if self.steps_per_epoch == 0:
            raise UserError(
                f"train.batch_size = {cfg.train.batch_size}: "
                f"the {len(images)} training images make no full step of "
                f"{self.global_batch * cfg.train.accumulate_steps} images "
                "(batch_size x devices x accumulate_steps). Take a smaller train.batch_size"
            )
        self._windows: Windows | None = None
        if (size := cfg.dataset.shuffle_window) is not None:
            shown = self.batches_per_epoch * self.global_batch
            self._windows = Windows(images, size, shown=shown, order_of=self.order)
            if shard.rank == 0 and images.labels.ndim == 1:
                tell_mixing(images.labels, self.order(0), size)

    @property
    def slots(self) -> np.ndarray:
        """(B,) places of this process's images in a global batch."""
        return self.shard.rank * self.batch_size + np.arange(self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Image numbers in the order of an epoch."""
        orders = self._orders
        if epoch not in orders:
            rng = generator(self.seed, Stream.order, epoch)
            if self.is_balanced:
                order = balanced_order(self.images.labels, rng)
            elif self._windows is not None:
                order = self._windows.draw(rng)
            elif self.shuffle:
                order = rng.permutation(len(self.images))
            else:
                order = np.arange(len(self.images))
            # The next epoch's begins to be read while this one's batches are made
            kept = {number: orders[number] for number in (epoch - 1, epoch + 1) if number in orders}
            orders = self._orders = {**kept, epoch: order}
        return orders[epoch]

    def read_ahead(self, batch_number: int) -> None:
        """Read what a batch of windows needs, before its images are asked for one by one."""
        if self._windows is not None:
            epoch, batch = divmod(batch_number, self.batches_per_epoch)
            begin = batch * self.global_batch
            self._windows.reach(epoch, begin, begin + self.global_batch)

    def draw(
        self, batch_number: int, place: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and label at a place of this process's share of a batch.

        Batches are counted from the run's start. `rng`, a generator of Philox, is set to where the
        place's draws begin.
        """
        epoch, batch_in_epoch = divmod(batch_number, self.batches_per_epoch)
        slot = self.shard.rank * self.batch_size + place
        index = self.order(epoch)[batch_in_epoch * self.global_batch + slot]
        restart(rng, self.seed, Stream.sample, batch_number, slot)
        pixels, index = self.load(int(index))
        return pixels, self.images.labels[index]

    def load(self, index: int) -> tuple[np.ndarray, int]:
        """An image's pixels and its number.

        If bad images are to be replaced, it is that of the next one in path order that can be read;
        else such an image raises `UserError`.
        """
        for step in range(len(self.images)):
            path = self.images.paths[(index + step) % len(self.images)]
            try:
                return load_pixels(path), (index + step) % len(self.images)
            except UserError as error:
                if not self.replaces_bad:
                    raise
                if path not in self.bad_images:
                    self.bad_images.add(path)
                    logger.warning("%s; another image takes its place", error)
        raise UserError(
            "none of the training images can be read; task=check_data tells why, of each"
        )


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) image numbers of an epoch in which every class comes as often, to within one.

    A class's images come in a random order, and again in another where they are too few.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = np.full(len(classes), len(labels) // len(classes))
    more = rng.permutation(len(classes))[: len(labels) % len(classes)]
    shares[more] += 1
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    drawn = []
    for own, share in zip(by_class, shares, strict=True):
        rounds = [rng.permutation(own) for _ in range(-(-share // len(own)))]
        drawn += [np.concatenate(rounds)[:share]] if rounds else []
    return rng.permutation(np.concatenate(drawn))


def _replaces(choice: BadImages) -> bool:
    match choice:
        case "replace":
            return True
        case "stop":
            return False
        case _:
            assert_never(choice)


def train_batches(stream: TrainStream, cfg: Config, *, first: int, last: int) -> Iterator[Batch]:
    """Batches number `first` to `last` - 1 of the run, mixed as configured.

    A batch is (B, 3, S, S) float32 images and (B, K) float32 soft targets.
    """

    transform = make_train_transform(cfg.augment, cfg.dataset, image_size=cfg.model.image_size)

    def make(number: int) -> Batch:
        images = np.empty(
            (stream.batch_size, 3, cfg.model.image_size, cfg.model.image_size), np.float32
        )
        labels = []
        stream.read_ahead(number)
        rng = generator(cfg.seed, Stream.sample)
        for place in range(stream.batch_size):
            pixels, label = stream.draw(number, place, rng)
            labels.append(label)
            transform(pixels, rng, images[place])
        restart(rng, cfg.seed, Stream.mixup, number, stream.shard.rank)
        classes = cfg.dataset.num_classes
        return mix_batch(images, np.array(labels), cfg.augment, num_classes=classes, rng=rng)

    return make_ahead(make, range(first, last), workers=cfg.hardware.num_parallel_workers)


def eval_batches(images: ImageList, cfg: Config, shard: Shard) -> Iterator[Batch]:
    """Every `size`-th image from `rank` on, each once; the last batch may be smaller.

    A batch is (B, 3, S, S) float32 images and their labels, as `ImageList` has them.
    """
    transform = make_eval_transform(cfg.dataset, image_size=cfg.model.image_size)
    mine = np.arange(shard.rank, len(images), shard.size)
    reach = read_in_order(images)

    def make(begin: int) -> Batch:
        numbers = mine[begin : begin + cfg.train.batch_size]
        reach(int(numbers[0]), int(numbers[-1]) + 1)
        batch = np.empty((len(numbers), 3, cfg.model.image_size, cfg.model.image_size), np.float32)
        for number, place in zip(numbers, batch, strict=True):
            transform(load_pixels(images.paths[number]), place)
        return batch, images.labels[numbers]

    return make_ahead(
        make, range(0, len(mine), cfg.train.batch_size), workers=cfg.hardware.num_parallel_workers
    )


def num_threads(workers: int) -> int:
    """How many threads read images where so many are allowed: never more than can work at once."""
    return min(workers, num_working())


def make_ahead(make: Callable[[int], T], numbers: range, *, workers: int) -> Iterator[T]:
    """make(number) for each number, in order, made by at most `workers` threads.

    Threads suffice: what works on pixels lets go
    of the interpreter's lock. One batch more than there are threads is in the
    making, so a waiting device takes the next at once.
    """
    threads = num_threads(workers)
    with ThreadPoolExecutor(threads, thread_name_prefix="data") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
