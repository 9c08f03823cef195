"""Whole trainings by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agreement import agree
from settings import GOLDEN, compose
from whole_runs import Command, metrics_of, same_weights, small, without_times


@pytest.mark.slow
def test_losses_through_launch_are_those_of_torch_and_timm(launch: Command, tmp_path: Path) -> None:
    """The recipe as a whole on image files: two epochs of the same training in torch and timm."""
    golden = json.loads((GOLDEN / "recipe.json").read_text())
    data = tmp_path / "digits"
    done = launch(
        *golden["overrides"],
        f"dataset.data_url={data}",
        f"model.pretrained={GOLDEN / 'recipe_init.safetensors'}",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [
        record["train/loss"] for record in without_times(tmp_path / "run") if "train/loss" in record
    ]
    agree("losses of two epochs through launch.py", losses, golden["losses"], within=1e-3)
    assert metrics_of(tmp_path / "run")["val/top1"] == pytest.approx(golden["val_top1"], abs=0.3)


@pytest.mark.slow
@pytest.mark.long
def test_two_runs_from_one_seed_are_equal(
    launch: Command, few_digits: Path, tmp_path: Path
) -> None:
    settings = small(
        few_digits, "augment=finetune_mixup", "model.drop_path_rate=0.2", "train.ema_decay=0.9"
    )
    for name in ("a", "b"):
        assert launch(*settings, f"hydra.run.dir={name}").returncode == 0
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")
    assert same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_fine_tuning_starts_from_another_runs_weights_at_another_size(
    launch: Command, few_digits: Path
) -> None:
    assert (
        launch(*small(few_digits, "model.abs_pos_emb=false", "hydra.run.dir=first")).returncode == 0
    )
    done = launch(
        *small(
            few_digits, "model.abs_pos_emb=true", "model.pretrained=first", "hydra.run.dir=second"
        )
    )
    assert done.returncode == 2 and "pos_embed (1, 5, 32) is missing" in done.stdout
    settings = small(
        few_digits, "model.abs_pos_emb=false", "model.image_size=48", "model.pretrained=first"
    )
    done = launch(*settings, "hydra.run.dir=third")
    assert done.returncode == 0
    assert "resized        2" in done.stdout


@pytest.mark.slow
def test_quickstart_learns_the_digits(launch: Command, tmp_path: Path) -> None:
    done = launch("hydra.run.dir=quick", timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics_of(tmp_path / "quick")["val/top1"] >= 96
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout
    assert "launch.py experiment=own_images" in done.stdout
    assert compose()["train"]["epochs"] == metrics_of(tmp_path / "quick")["epoch"]
