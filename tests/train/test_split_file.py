from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beit_exp.data.listing import ImageList
from beit_exp.data.pool import Pool
from beit_exp.errors import UserError
from beit_exp.tracking.records import SPLIT_FILE
from beit_exp.train.split_file import keep_split

NAMES = ["cat/1.png", "cat/2.png", "dog, big/1.png", "dog, big/狗.png"]


def pool(names: list[str], *, splits: str = "train val train val", groups=None) -> Pool:
    labels = np.array([int(name.startswith("dog")) for name in names], np.int32)
    images = ImageList([f"data/{name}" for name in names], labels, ["cat", "dog, big"])
    return Pool(Path("data"), images, np.array(splits.split()[: len(names)]), groups)


def test_a_split_is_a_table_of_paths_in_the_data_set(tmp_path: Path) -> None:
    digest = keep_split(pool(NAMES), tmp_path, is_begun=False)
    assert (tmp_path / SPLIT_FILE).read_text(encoding="utf-8").splitlines() == [
        "path,label,split,group",
        "cat/1.png,cat,train,",
        "cat/2.png,cat,val,",
        '"dog, big/1.png","dog, big",train,',
        '"dog, big/狗.png","dog, big",val,',
    ]
    assert keep_split(pool(NAMES), tmp_path, is_begun=True) == digest
    other = pool(NAMES, groups=["1", "2", "3", "4"])
    assert keep_split(other, tmp_path, is_begun=False) != digest


def test_a_run_that_has_begun_refuses_other_images(tmp_path: Path) -> None:
    keep_split(pool(NAMES), tmp_path, is_begun=False)
    before = (tmp_path / SPLIT_FILE).read_bytes()
    other = pool(["cat/1.png", "cat/3.png", "dog, big/1.png"], splits="val val train")
    with pytest.raises(
        UserError,
        match=r"the data set has changed, .*split.csv tells .*\. 1 images came, 2 went, 1 others",
    ):
        keep_split(other, tmp_path, is_begun=True)
    assert (tmp_path / SPLIT_FILE).read_bytes() == before
    keep_split(other, tmp_path, is_begun=False)
    assert (tmp_path / SPLIT_FILE).read_bytes() != before


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"\xff", b'path,label,split,group\n"a'])
def test_a_damaged_split_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SPLIT_FILE).write_bytes(content)
    with pytest.raises(UserError, match="split.csv is damaged: "):
        keep_split(pool(NAMES), tmp_path, is_begun=True)
