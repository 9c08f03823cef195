from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.tracking.run_name import job_run_name, run_name

RUN_DIR = Path("runs/2026-11-24_20-02-31_ab12")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "20-02-31_ab12"),
        (["hydra.run.dir=x", "tracking.experiment=y"], "20-02-31_ab12"),
        (["optimizer.lr_base_size=64", "allow_changes=[seed]"], "20-02-31_ab12"),
        (["optimizer.base_lr=3e-05", "seed=1"], "base_lr=3e-05 seed=1 20-02-31_ab12"),
        (
            ["dataset.data_url=/data/imagenet/", "train.epochs=3", "experiment=imagenet_base"],
            "imagenet_base epochs=3 data_url=imagenet 20-02-31_ab12",
        ),
        (["model=beit_large", "+tracking.tags.a=b"], "beit_large 20-02-31_ab12"),
        (
            ["checkpoint=runs/2026-11-24_19-00-00_cd34", "evaluation.flip=true", "task=evaluate"],
            "evaluate 19-00-00_cd34 flip=true 20-02-31_ab12",
        ),
        (["model.arch='my net'"], "arch=my net 20-02-31_ab12"),
    ],
)
def test_a_run_is_named_by_what_was_typed_differently(overrides: list[str], name: str) -> None:
    assert run_name(overrides, RUN_DIR) == name


def test_a_long_command_leaves_the_place_in_the_name() -> None:
    name = run_name([f"dataset.mean=[{'0.5,' * 100}]"], RUN_DIR)
    assert len(name) < 100 and name.endswith("... 20-02-31_ab12")


def test_a_directory_of_another_name_is_told_as_it_is() -> None:
    assert run_name([], Path("my_run")) == "my_run"


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ({"optimizer.layer_decay": "0.65"}, "layer_decay=0.65"),
        ({"optimizer": "adamw", "augment": "light"}, "adamw, light (optimizer, augment)"),
        ({"model.pretrained": "'/runs/a/best.pth'"}, "pretrained=a/best.pth"),
        ({}, "job"),
    ],
)
def test_the_jobs_of_a_sweep_differ_within_the_twenty_characters_that_a_list_shows(
    swept: dict[str, str], name: str
) -> None:
    assert job_run_name(swept) == name
