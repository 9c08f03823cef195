from __future__ import annotations

from pathlib import Path

import pytest
from kept_weights import write_training
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import Config
from beit_exp.data.sources import open_splits
from beit_exp.errors import UserError
from beit_exp.inference.held_out import open_held_out, open_shared_validation
from beit_exp.tracking.records import SPLIT_FILE
from beit_exp.train.split_file import keep_split


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


def begun(run_dir: Path, *words: str) -> Config:
    """The settings of a run that was trained with these, in whose directory its split stands."""
    cfg = make_config(*words)
    run_dir.mkdir(exist_ok=True)
    save_config(cfg, run_dir / "config.yaml")
    if (pool := open_splits(cfg).pool) is not None:
        keep_split(pool, run_dir, is_begun=False)
    return cfg


@pytest.mark.parametrize(
    "others",
    [
        ("dataset.test_fraction=0.3",),
        ("dataset.val_fraction=0.5",),
        ("seed=1",),
        ("dataset.crop_pct=0.5", "seed=1"),
        ("dataset.val_fraction=0.0", "dataset.folds=3"),
    ],
)
@pytest.mark.parametrize("place", ["run", "run/checkpoints/best.safetensors"])
def test_images_that_a_run_was_trained_on_are_not_evaluated(
    others: tuple[str, ...], place: str, few_digits: Path, tmp_path: Path
) -> None:
    words = ("dataset=image_folder", f"dataset.data_url={few_digits / 'train'}")
    own = begun(tmp_path / "run", *words, "dataset.val_fraction=0.2")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "best.safetensors").touch()
    checkpoint = ("task=evaluate", f"checkpoint={tmp_path / place}")
    same = make_config(*words, "dataset.val_fraction=0.2", *checkpoint)
    assert open_held_out(same, "val").paths == open_splits(own).val.paths
    other = make_config(*words, "dataset.val_fraction=0.2", *others, *checkpoint)
    split = "test" if other.dataset.test_fraction else "val"
    with pytest.raises(UserError, match=r"was trained on \d+ of the \d+ images of"):
        open_held_out(other, split)


def test_a_run_with_a_val_of_its_own_holds_out_nothing_else(
    few_digits: Path, tmp_path: Path
) -> None:
    words = ("dataset=image_folder", f"dataset.data_url={few_digits}")
    begun(tmp_path / "run", *words)
    checkpoint = ("task=evaluate", f"checkpoint={tmp_path / 'run'}")
    with pytest.raises(UserError, match="has no test set"):
        open_held_out(make_config(*words, *checkpoint), "test")
    with pytest.raises(
        UserError, match=r"was trained on all of train/ in .*none of it can be held"
    ):
        open_held_out(make_config(*words, "dataset.test_fraction=0.2", *checkpoint), "test")
    elsewhere = ("dataset=image_folder", f"dataset.data_url={few_digits / 'val'}")
    shares = ("dataset.val_fraction=0.2", "dataset.test_fraction=0.2")
    other = make_config(*elsewhere, *shares, *checkpoint)
    assert len(open_held_out(other, "test")) == 10
