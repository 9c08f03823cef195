from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kept_weights import WEIGHT, write_training

from beit_exp.errors import UserError
from beit_exp.weights.ingredients import best_job, find_ingredients

OWN = ("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=10")
SPLIT = (*OWN, "dataset.val_fraction=0.5")


def names(place: Path, kind: str = "best") -> list[str]:
    return [ingredient.name for ingredient in find_ingredients(str(place), kind)]


def test_a_sweep_gives_the_best_weights_of_its_finished_fine_tunings(tmp_path: Path) -> None:
    for name, top1 in (("seed=1", 60.0), ("seed=2", 70.0)):
        write_training(tmp_path / name, top1=top1, steps=(10, 20))
    write_training(tmp_path / "seed=3", top1=90.0)
    (tmp_path / "seed=3" / "metrics.json").unlink()  # not done
    write_training(tmp_path / "evaluated", "task=evaluate", f"checkpoint={tmp_path}", top1=95.0)
    (tmp_path / "report").mkdir()
    assert names(tmp_path) == ["seed=1", "seed=2"]
    assert best_job(tmp_path) == tmp_path / "seed=2"
    best, last = (find_ingredients(str(tmp_path), kind)[0].read() for kind in ("best", "last"))
    assert (best[WEIGHT][0], last[WEIGHT][0]) == (10, 20)


def test_a_run_gives_its_kept_checkpoints_and_its_best_where_it_is_none_of_these(
    tmp_path: Path,
) -> None:
    run_dir = write_training(tmp_path / "run", steps=(10, 20, 30), keep=2)
    assert names(run_dir) == ["best", "step_00000020", "step_00000030"]
    other = write_training(tmp_path / "other", steps=(10, 20, 30), best_step=20)
    assert names(other) == ["step_00000020", "step_00000030"]
    shutil.copytree(other, tmp_path / "copied")  # where the best is a file of its own
    assert names(tmp_path / "copied") == ["step_00000020", "step_00000030"]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"classes": "012345678"}, "it has 9 classes, not 10"),
        ({"classes": "012345678a"}, "its class 'a' is '9' there"),
        ({"length": 4}, rf"1 tensors differ, such as {WEIGHT} \(\(4,\), not \(3,\)\)"),
        ({"classes": None}, ": it is no checkpoint of a fine-tuning"),
    ],
)
def test_unlike_networks_are_refused_by_name(second: dict, why: str, tmp_path: Path) -> None:
    write_training(tmp_path / "a")
    write_training(tmp_path / "b", **second)
    with pytest.raises(UserError, match=rf"/b/.* cannot be averaged.*{why}"):
        find_ingredients(str(tmp_path), "best")


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (SPLIT, (*SPLIT, "dataset.val_fraction=0.25"), "dataset.val_fraction is 0.25, not 0.5: an"),
        (OWN, (*OWN, "dataset.data_url=y"), "dataset.data_url is 'y', not 'x': an image that one"),
        (OWN, (*OWN, "dataset.crop_pct=0.5"), "dataset.crop_pct is 0.5, .* see an image differ"),
        (SPLIT, (*SPLIT, "seed=2"), r"another split \(seed 2, not 42, draws it\): an image that"),
    ],
)
def test_trainings_that_held_out_other_images_are_refused(
    first: tuple[str, ...], second: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    write_training(tmp_path / "a", *first, split="a")
    write_training(tmp_path / "b", *second, split="b")
    with pytest.raises(UserError, match=rf"/b/.* cannot be averaged with .*/a/.*: .*{why}"):
        find_ingredients(str(tmp_path), "best")


def test_trainings_on_more_or_fewer_images_are_averaged(tmp_path: Path) -> None:
    write_training(tmp_path / "a", *SPLIT, split="same")
    write_training(tmp_path / "b", *SPLIT, "dataset.images_per_class=3", "seed=42", split="same")
    write_training(tmp_path / "c", *SPLIT, "seed=7", split="same")  # a table may tell it
    assert names(tmp_path) == ["a", "b", "c"]


def test_nothing_is_averaged_with_nothing(tmp_path: Path) -> None:
    run_dir = write_training(tmp_path / "a")
    with pytest.raises(UserError, match="nothing to average: it holds 1 finished jobs of task=fin"):
        find_ingredients(str(tmp_path), "best")
    with pytest.raises(UserError, match="nothing to average: it holds 1 checkpoints"):
        find_ingredients(str(run_dir), "best")
    for place in (str(run_dir / "checkpoints" / "best.safetensors"), "s3://bucket/sweep"):
        with pytest.raises(UserError, match="must be the directory of a run or of a sweep"):
            find_ingredients(place, "best")
    with pytest.raises(UserError, match="neither a run directory"):
        find_ingredients(str(run_dir / "checkpoints"), "best")


@pytest.mark.parametrize("where", [-1, 200])
def test_a_damaged_ingredient_is_refused_by_name(where: int, tmp_path: Path) -> None:
    write_training(tmp_path / "a")
    path = write_training(tmp_path / "b") / "checkpoints" / "best.safetensors"
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="/b/checkpoints/best.safetensors"):
        for ingredient in find_ingredients(str(tmp_path), "best"):
            ingredient.read()
