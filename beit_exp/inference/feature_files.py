"""Features on disk: a folder for each set of images, with an array a block and a table of paths."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beit_exp.config.probing import FeaturesConfig
from beit_exp.data.listing import ImageList
from beit_exp.errors import UserError
from beit_exp.report.result_files import write_table, writing_array
from beit_exp.storage.foreign import reading

FOLDER = "features"  # in a run directory
TABLE = "images.csv"  # of each image, in the order of the arrays' rows
COLUMNS = ("path", "label", "class")  # of images without labels the first alone


def block_file(number: int) -> str:
    """The name of a block's array; blocks are counted from 0."""
    return f"block{number}.npy"


class StoredFeatures(NamedTuple):
    """The folder of a set of images."""

    folder: Path

    def blocks(self) -> list[int]:
        """The numbers of the blocks that there are, rising."""
        numbers = (path.stem.removeprefix("block") for path in self.folder.glob("block*.npy"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def read(self, number: int) -> np.ndarray:
        """(N, F) of a block, as a map of its file; `UserError` if that is damaged."""
        path = self.folder / block_file(number)
        with reading(path, "is damaged"):
            return np.load(path, mmap_mode="r", allow_pickle=False)

    def labels(self) -> np.ndarray:
        """(N,) classes of the images; `UserError` if their table has none."""
        path = self.folder / TABLE
        with reading(path, "has no labels of its images"), path.open(newline="") as file:
            return np.array([int(row["label"]) for row in csv.DictReader(file)])


def write_features(
    folder: Path,
    rows: Iterable[np.ndarray],
    images: ImageList,
    names: Sequence[str],
    cfg: FeaturesConfig,
    *,
    blocks: Sequence[int],
) -> None:
    """(n, L, F) at a time: an (N, F) array for each of L blocks, and then the table.

    Of all tokens the array is (N, tokens, width). `UserError` where float16 cannot hold a number.
    """
    columns = COLUMNS[: 3 if images.classes else 1]
    told = [
        [name, label, images.classes[label]] if images.classes else [name]
        for name, label in zip(names, images.labels.tolist(), strict=True)
    ]
    (folder / TABLE).unlink(missing_ok=True)  # of features that these take the place of
    with ExitStack() as files:
        writers: list[Callable[[np.ndarray], None]] = []
        for found_BLF in rows:
            kept_BLF = _as_kept(found_BLF, cfg)
            shape = (len(names), *kept_BLF.shape[2:])
            for number in blocks if not writers else ():
                path = folder / block_file(number)
                array = writing_array(path, shape=shape, dtype=kept_BLF.dtype)
                writers.append(files.enter_context(array))
            for place, write in enumerate(writers):
                write(kept_BLF[:, place])
    write_table(folder / TABLE, [columns, *told])


def _as_kept(found: np.ndarray, cfg: FeaturesConfig) -> np.ndarray:
    """The features in the type of the files; `UserError` where there is a number too large."""
    with np.errstate(over="ignore"):
        kept = found.astype(cfg.dtype)
    if not np.isfinite(kept).all():
        raise UserError(
            f"features.dtype = {cfg.dtype!r}: a feature is {np.abs(found).max():g}, which it "
            "cannot hold (features.dtype=float32, hardware.amp_level=O0)"
        )
    return kept
