"""Data sets packed into shards, as webdataset's tools or a plain `tar` would."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data import archives
from beit_exp.data.listing import ImageList

Member = tuple[str, bytes]


def write_tar(path: Path, members: Sequence[Member]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def in_folders(path: Path) -> list[Member]:
    """An image in its class's folder."""
    return [(f"{path.parent.name}/{path.name}", path.read_bytes())]


def with_label_files(path: Path) -> list[Member]:
    """An image, and the name of its folder beside it."""
    key = f"{path.parent.name}_{path.stem}"
    return [(f"{key}.cls", path.parent.name.encode()), (f"{key}.png", path.read_bytes())]


def pack(
    folder: Path,
    name: str,
    *,
    shards: int,
    members: Callable[[Path], list[Member]] = in_folders,
    seed: int = 0,
) -> list[Path]:
    """The images of class folders in a random order, in so many tars called `name` with a number
    for `{}`.
    """
    paths = sorted(folder.glob("*/*.png"))
    order = np.random.default_rng(seed).permutation(len(paths))
    return [
        write_tar(
            Path(name.format(f"{number:06d}")),
            [member for place in part for member in members(paths[place])],
        )
        for number, part in enumerate(np.array_split(order, shards))
    ]


def config(folder: Path | str, *overrides: str, classes: int | str = 10) -> Config:
    words = ("dataset=image_folder", f"dataset.num_classes={classes}")
    return make_config(*words, f"dataset.data_url={folder}", *overrides)


def contents(images: ImageList) -> dict[bytes, int]:
    """The class of each image by its bytes, which no two digits share."""
    reads = (
        archives.read(path) if archives.is_member(path) else Path(path).read_bytes()
        for path in images.paths
    )
    found = dict(zip(reads, images.labels.tolist(), strict=True))
    assert len(found) == len(images)
    return found
