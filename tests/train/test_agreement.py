from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest

from beit_exp.data.listing import ImageList
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.train.agreement import check_same_images, ranks_with_another

IMAGES = ImageList(
    ["/a/train/cat/1.png", "/a/train/cat/2.png", "/a/train/dog/1.png"],
    np.array([0, 0, 1], np.int32),
    ["cat", "dog"],
)


def ranks(count: int) -> list[Runtime]:
    """Ranks that are threads, and gather through a list."""
    rows: dict[int, np.ndarray] = {}
    barrier = Barrier(count)

    class Thread(Runtime):
        def gather(self, values: np.ndarray) -> np.ndarray:
            rows[self.rank] = np.asarray(values, np.float32)
            barrier.wait(10)
            return np.stack([rows[rank] for rank in range(count)])

    return [Thread("CPU", half=None, rank=rank, size=count) for rank in range(count)]


def told(lists: list[ImageList]) -> list[str]:
    def check(runtime: Runtime) -> str:
        try:
            check_same_images("training", lists[runtime.rank], runtime)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(lists)) as pool:
        return list(pool.map(check, ranks(len(lists))))


def test_the_same_names_under_another_root_are_the_same_images() -> None:
    moved = replace(IMAGES, paths=[path.replace("/a/", "/scratch/b/") for path in IMAGES.paths])
    assert told([IMAGES, moved, IMAGES]) == ["", "", ""]


@pytest.mark.parametrize(
    "other",
    [
        replace(IMAGES, paths=IMAGES.paths[:2], labels=IMAGES.labels[:2]),
        replace(IMAGES, paths=[*IMAGES.paths[:2], "/a/train/dog/7.png"]),
        replace(IMAGES, labels=np.array([0, 1, 1], np.int32)),
        replace(IMAGES, classes=["cat", "wolf"]),
    ],
    ids=["one fewer", "another name", "another label", "another class"],
)
def test_other_images_on_a_rank_are_refused_by_all(other: ImageList) -> None:
    for text in told([IMAGES, IMAGES, other]):
        assert "rank 2 lists others than rank 0" in text and "same files" in text


def test_all_32_bits_count() -> None:
    with ThreadPoolExecutor(2) as pool:
        for bit in range(32):
            digests = [0xDEADBEEF, 0xDEADBEEF ^ 1 << bit]
            found = pool.map(ranks_with_another, digests, ranks(2))
            assert list(found) == [[1], [1]]


def test_one_alone_asks_nobody() -> None:
    check_same_images("training", IMAGES, Runtime("CPU", half=None, rank=0, size=1))
