"""Ranks that would train different things in silence: compared by a digest, and refused."""

from __future__ import annotations

import os
import zlib

import numpy as np

from beit_exp.data.listing import ImageList
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.train.step import Trainer


def check_same_weights(trainer: Trainer, runtime: Runtime) -> None:
    """All ranks must hold the same network bit for bit."""
    if unlike := unlike_ranks(trainer, runtime):
        ranks = ", ".join(map(str, unlike))
        raise RuntimeError(f"at step {trainer.step} rank {ranks} holds other weights than rank 0")


def unlike_ranks(trainer: Trainer, runtime: Runtime) -> list[int]:
    """The ranks that hold anything else than rank 0, bit for bit."""
    if runtime.size == 1:
        return []
    digest = 0
    for name, parameter in trainer.tensors().items():
        digest = zlib.crc32(parameter.asnumpy().tobytes(), zlib.crc32(name.encode(), digest))
    return ranks_with_another(digest, runtime)


def check_same_images(split: str, images: ImageList, runtime: Runtime) -> None:
    """Raise `UserError` unless all ranks list the same files with the same labels: each takes its
    share of the list by number.
    """
    if runtime.size == 1:
        return
    start = len(os.path.commonpath(images.paths))
    names = "\n".join([*images.classes, *(path[start:] for path in images.paths)])
    digest = zlib.crc32(images.labels.tobytes(), zlib.crc32(names.encode()))
    if unlike := ranks_with_another(digest, runtime):
        ranks = ", ".join(map(str, unlike))
        raise UserError(
            f"dataset.data_url: the {len(images)} {split} images of rank {runtime.rank} are not "
            f"those of all: rank {ranks} lists others than rank 0. Every node must have the same "
            "files under the same names"
        )


def ranks_with_another(digest: int, runtime: Runtime) -> list[int]:
    """The ranks whose number of 32 bits is not that of rank 0."""
    # 16 bits are exact in float32
    halves = runtime.gather(np.array([digest >> 16, digest & 0xFFFF]))
    return [rank for rank, row in enumerate(halves) if (row != halves[0]).any()]
