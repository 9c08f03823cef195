from __future__ import annotations

import pytest
from settings import make_config

from beit_exp.train.opening import opening

SIZES = {"training": 1437, "validation": 360}


def lines(*overrides: str, images: dict[str, int] = SIZES) -> dict[str, str]:
    cfg = make_config(*overrides)
    text = opening(cfg, device="2 cores", images=images, weights="from scratch", steps_per_epoch=22)
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
