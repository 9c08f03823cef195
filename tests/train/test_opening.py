from __future__ import annotations

import pytest
from settings import ROOT, make_config

from beit_exp.train.opening import batch_note, opening

SIZES = {"training": 1437, "validation": 360}


def lines(
    *overrides: str, images: dict[str, int] = SIZES, ranks: int | None = None
) -> dict[str, str]:
    cfg = make_config(*overrides)
    text = opening(
        cfg,
        device="2 cores",
        images=images,
        weights="from scratch",
        steps_per_epoch=22,
        ranks=ranks or cfg.hardware.device_num,
    )
    return {line[:10].strip(): line[10:] for line in text.splitlines()}


def test_what_begins_is_said_in_a_line_each() -> None:
    assert lines("train.epochs=40") == {
        "device": "2 cores, O0",
        "model": "beit_micro, 0.82 M parameters (all trained), 0.0281 GFLOPs an image",
        "data": "digits: 1,437 training and 360 validation images of 10 classes",
        "weights": "from scratch",
        "steps": "22 an epoch, 880 in 40 epochs; batches of 64 images",
    }


def test_a_test_set_is_counted_too() -> None:
    data = lines(images=SIZES | {"test": 90})["data"]
    assert data.startswith("digits: 1,437 training, 360 validation and 90 test images of 10")


@pytest.mark.parametrize(
    ("overrides", "model"),
    [
        (("train.freeze=backbone",), "the head alone is trained"),
        (("experiment=pretrain_digits",), "beit_micro, predicting 64 tokens"),
        (
            ("task=train_tokenizer", "objective=val/loss", "augment=pretrain", "tokenizer=small"),
            "tokenizer of 64 tokens",
        ),
    ],
)
def test_what_is_trained_is_said(overrides: tuple[str, ...], model: str) -> None:
    assert model in lines(*overrides)["model"]


RECIPES = sorted(
    path.stem
    for path in (ROOT / "conf" / "experiment").glob("*.yaml")
    if "lr_base_size" in path.read_text()
)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_as_it_stands_has_the_batch_that_its_learning_rate_is_meant_for(
    name: str,
) -> None:
    file = "teacher" if name.startswith("vqkd") else "weights"
    cfg = make_config(f"experiment={name}", f"tokenizer.{file}=x", "dataset.data_url=x")
    assert batch_note(cfg, ranks=cfg.hardware.device_num) is None
    assert batch_note(cfg, ranks=2 * cfg.hardware.device_num) is not None


def test_fewer_cards_are_told_which_batch_the_recipe_has_and_both_ways_out() -> None:
    said = lines("experiment=imagenet_base", "hardware.device_num=1")
    assert said["note"] == (
        "64 images a step, but optimizer.base_lr=2e-05 is meant for 512 (optimizer.lr_base_size): "
        "train.accumulate_steps=8 makes 512, or "
        "optimizer.base_lr=2.5e-06 optimizer.lr_base_size=64 scales it"
    )


@pytest.mark.parametrize(
    "way",
    [
        ("train.accumulate_steps=8",),
        ("optimizer.base_lr=2.5e-06", "optimizer.lr_base_size=64"),
    ],
)
def test_each_way_out_ends_the_note(way: tuple[str, ...]) -> None:
    assert "note" not in lines("experiment=imagenet_base", "hardware.device_num=1", *way)


def test_no_accumulation_is_named_that_would_not_make_the_batch() -> None:
    said = lines("experiment=imagenet_base", "train.batch_size=96", "hardware.device_num=2")
    assert said["note"].endswith(
        "(optimizer.lr_base_size): optimizer.base_lr=7.5e-06 optimizer.lr_base_size=192 scales it"
    )


def test_processes_on_several_nodes_are_counted() -> None:
    assert lines("experiment=imagenet_base", ranks=16)["note"].startswith("1,024 images a step")


def test_settings_that_name_no_batch_have_no_note() -> None:
    assert "note" not in lines("train.batch_size=7")
