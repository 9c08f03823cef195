"""Printed commands compose to runs that share what they must with the run before."""

from __future__ import annotations

import shlex

import pytest
from settings import SMALL_TOKENIZER, TINY, make_config

from beit_exp.launch.following import SHAPE, finetuning_command, pretraining_command

PLACE = "runs/a b=(数据)"


@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=pretrain_digits",),
        (
            "experiment=pretrain_digits",
            *TINY,
            "model.patch_size=8",
            "dataset.data_url='a b=(数据)'",
        ),
        (
            "experiment=pretrain_base",
            "dataset=image_folder",
            "dataset.data_url=x",
            "dataset.num_classes=7",
            "tokenizer.weights=t",
        ),
    ],
)
def test_fine_tuning_has_the_shape_of_the_network_and_the_data(overrides: tuple[str, ...]) -> None:
    before = make_config(*overrides)
    words = shlex.split(finetuning_command(before, PLACE))[2:]
    after = make_config(*words)
    assert (after.task, after.model.pretrained) == ("finetune", PLACE)
    assert after.dataset == before.dataset
    for name in SHAPE:
        assert getattr(after.model, name) == getattr(before.model, name), name


def test_what_was_held_out_of_a_pre_training_is_held_out_again() -> None:
    own = ("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=7")
    words = ("experiment=pretrain_digits", *own, "dataset.val_fraction=0.2")
    before = make_config(*words, "seed=7")
    for command in (finetuning_command(before, PLACE), pretraining_command(before, PLACE)):
        assert {"dataset.val_fraction=0.2", "seed=7"} <= set(shlex.split(command))


def test_fine_tuning_on_several_labels_an_image_is_judged_by_them() -> None:
    own = ("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=7")
    labels = ("dataset.labels=x/labels.csv", "dataset.multi_label=true", "dataset.val_fraction=0.2")
    words = ("experiment=pretrain_digits", "probe.every_epochs=null")
    before = make_config(*words, *own, *labels)
    after = make_config(*shlex.split(finetuning_command(before, PLACE))[2:])
    assert (after.objective, after.dataset) == ("val/map", before.dataset)


def test_fine_tuning_repeats_no_default() -> None:
    command = finetuning_command(make_config("experiment=pretrain_digits"), "runs/a")
    assert command == "python launch.py model.pretrained=runs/a"


@pytest.mark.parametrize(
    "overrides",
    [
        ("tokenizer=small",),
        (*SMALL_TOKENIZER, "dataset.data_url='a b=(数据)'", "tokenizer.temperature=[1,0.5]"),
        ("tokenizer=vqkd_small", "tokenizer.teacher=t", "model.patch_size=4"),
        (
            *("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=7"),
            *("model=beitv2_base_patch16_224", "tokenizer.teacher=t"),
            "tokenizer=vqkd_encoder_base_decoder_1x768x12",
        ),
    ],
)
def test_pre_training_has_the_tokenizer_and_its_data(overrides: tuple[str, ...]) -> None:
    task = ("task=train_tokenizer", "objective=val/loss", "augment=pretrain")
    before = make_config(*task, *overrides)
    after = make_config(*shlex.split(pretraining_command(before, PLACE))[2:])
    assert (after.task, after.tokenizer.weights) == ("pretrain", PLACE)
    assert after.dataset == before.dataset
    assert (after.tokenizer.teacher, after.mask.early_block is None) == (
        None,
        before.tokenizer.kind == "dvae",
    )
    assert after.model.image_size == before.model.image_size
    own = {"weights": None, "training": {}, "teacher": None}
    assert after.tokenizer.model_copy(update=own) == before.tokenizer.model_copy(update=own)
