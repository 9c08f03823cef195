from __future__ import annotations

from pathlib import Path

import pytest
from kept_weights import write_training
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.sources import open_splits
from beit_exp.errors import UserError
from beit_exp.inference.held_out import open_held_out, open_shared_validation
from beit_exp.train.split_file import SPLIT_FILE, keep_split


def settings(few_digits: Path, *more: str) -> Config:
    place = f"dataset.data_url={few_digits / 'train'}"
    pooled = ("dataset=image_folder", "dataset.num_classes=10", "dataset.val_fraction=0.25")
    return make_config(*pooled, place, *more)


def test_the_validation_images_of_several_runs_are_those_that_all_held_out(
    few_digits: Path, tmp_path: Path
) -> None:
    cfg = settings(few_digits)
    pool = open_splits(cfg).pool
    assert pool is not None
    runs = [tmp_path / name for name in "ab"]
    for run_dir in runs:
        run_dir.mkdir()
        keep_split(pool, run_dir, is_begun=False)
    images = open_shared_validation(cfg, runs, keep_in=tmp_path)
    assert len(images) == 20
    assert (tmp_path / SPLIT_FILE).read_bytes() == (runs[0] / SPLIT_FILE).read_bytes()
    with pytest.raises(UserError, match=r"a/split.csv tells another split"):
        open_shared_validation(settings(few_digits, "seed=2"), runs, keep_in=tmp_path)
    (runs[1] / SPLIT_FILE).unlink()
    with pytest.raises(UserError, match=r"/b was trained without the split"):
        open_shared_validation(cfg, runs, keep_in=tmp_path)


def test_a_val_folder_is_held_out_by_everybody(few_digits: Path, tmp_path: Path) -> None:
    cfg = make_config(f"dataset.data_url={few_digits}")
    runs = [write_training(tmp_path / "a"), write_training(tmp_path / "b", "seed=2")]
    images = open_shared_validation(cfg, runs, keep_in=tmp_path)
    of_one = cfg.model_copy(update={"checkpoint": str(runs[0])})
    assert images.paths == open_held_out(of_one, "val").paths
    assert not (tmp_path / SPLIT_FILE).exists()
