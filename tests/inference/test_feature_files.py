"""Features on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from settings import make_config

from beit_exp.data.listing import ImageList
from beit_exp.errors import UserError
from beit_exp.inference.feature_files import StoredFeatures, write_features

ROWS = np.random.default_rng(0).standard_normal((5, 2, 3), np.float32)
IMAGES = ImageList(list("abcde"), np.array([0, 0, 1, 1, 1], np.int32), ["cat", "dog"])


def write(folder: Path, *overrides: str, rows: np.ndarray = ROWS) -> None:
    cfg = make_config(*overrides).features
    write_features(folder, [rows[:2], rows[2:]], IMAGES, IMAGES.paths, cfg, blocks=[0, 3])


def test_a_block_has_an_array_and_the_images_a_table_in_its_order(tmp_path: Path) -> None:
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"block0.npy", "block3.npy", "images.csv"}
    for place, number in enumerate((0, 3)):
        found = np.load(tmp_path / f"block{number}.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, ROWS[:, place])
    with (tmp_path / "images.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[:2] == [["path", "label", "class"], ["a", "0", "cat"]]
    assert rows[-1] == ["e", "1", "dog"]


def test_images_without_labels_have_paths_alone(tmp_path: Path) -> None:
    images = ImageList(list("ab"), np.zeros(2, np.int32), [])
    cfg = make_config().features
    write_features(tmp_path, [ROWS[:2]], images, ["x/a", "x/b"], cfg, blocks=[0, 1])
    assert (tmp_path / "images.csv").read_text() == "path\nx/a\nx/b\n"


def test_half_the_bytes_hold_the_rounded_numbers(tmp_path: Path) -> None:
    write(tmp_path, "features.dtype=float16")
    found = np.load(tmp_path / "block0.npy")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, ROWS[:, 0].astype(np.float16))


def test_a_number_that_half_precision_cannot_hold_is_told_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    rows = np.where(ROWS.max() == ROWS, np.float32(70000), ROWS)
    with pytest.raises(UserError, match="features.dtype = 'float16': a feature is 70000"):
        write(tmp_path, "features.dtype=float16", rows=rows)
    assert list(tmp_path.iterdir()) == []


def test_stored_features_are_read_block_by_block(tmp_path: Path) -> None:
    write(tmp_path, "features.dtype=float16")
    stored = StoredFeatures(tmp_path)
    assert stored.blocks() == [0, 3]
    np.testing.assert_array_equal(stored.read(3), ROWS[:, 1].astype(np.float16))
    assert stored.labels().tolist() == [0, 0, 1, 1, 1]
    (tmp_path / "block3.npy").write_bytes(b"\x93NUMPY no array")
    with pytest.raises(UserError, match=r"block3\.npy is damaged"):
        stored.read(3)
    (tmp_path / "images.csv").write_text("path\na\n")
    with pytest.raises(UserError, match=r"images\.csv has no labels of its images"):
        stored.labels()
