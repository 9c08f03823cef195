"""Every experiment that has an original, value by value against the official commands and defaults
(tests/golden/official_recipes.csv); what departs on purpose, with its reason, in
tests/golden/official_departures.csv.
"""

from __future__ import annotations

import csv
import json
import re
from fnmatch import fnmatch
from functools import cache
from typing import Any

import pytest
from settings import GOLDEN, ROOT, make_config

from beit_exp.config.mapping import flatten

WITHOUT_ORIGINAL = {
    "cifar10",
    "cifar100",
    "flowers",
    "few_digits",
    "own_images",
    "pretrain_digits",
    "pretrain_digits_v2",
}
COMPARED = ("model", "dataset", "augment", "optimizer", "scheduler", "mask")
WITHOUT_COUNTERPART = (  # of these groups: names, places and what the originals cannot do
    *("model.arch", "model.pretrained", "dataset.name", "dataset.data_url", "dataset.val_labels"),
    *(
        "dataset.labels",
        "dataset.multi_label",
        "dataset.val_fraction",
        "dataset.test_fraction",
        "dataset.folds",
    ),
    *("dataset.fold", "dataset.groups", "dataset.images_per_class", "dataset.bad_images"),
    "dataset.shuffle_window",
    *("scheduler.warmup_share", "scheduler.cooldown_epochs", "scheduler.decay_rate"),
    *("scheduler.decay_epochs", "scheduler.milestones"),
    *("mask.early_block", "mask.head_blocks", "mask.shared_lm_head"),  # of BEiT v2 alone
)
NO_ERASING_NOR_MIXING = ("augment.re_*", "augment.*mix*", "augment.switch_prob")
NOT_READ = {  # besides, by the first part of an experiment's name
    "imagenet": ("mask.*",),
    "beitv2": ("mask.*",),
    "intermediate": ("mask.*",),
    "linear": (
        *("mask.*", "model.*", *NO_ERASING_NOR_MIXING),
        *("optimizer.momentum", "optimizer.decay_rel_pos_bias"),
        *("scheduler.warmup_lr", "scheduler.warmup_steps"),
    ),
    "pretrain": (
        *("model.head_init_scale", "model.pooling", *NO_ERASING_NOR_MIXING),
        *("dataset.num_classes", "dataset.crop_pct", "dataset.interpolation"),
        "scheduler.warmup_length",
    ),
    "vqkd": (
        *("mask.*", "model.*", "dataset.num_classes", *NO_ERASING_NOR_MIXING),
        *("optimizer.momentum", "optimizer.decay_rel_pos_bias"),
    ),
}


def read(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(newline="") as file:
        return list(csv.DictReader(file))


ROWS = read("official_recipes.csv")
DEPARTURES = read("official_departures.csv")
EXPERIMENTS = list(dict.fromkeys(row["experiment"] for row in ROWS))


@cache
def composed(experiment: str) -> dict[str, Any]:
    given = "teacher" if experiment.startswith("vqkd") else "weights"
    return flatten(make_config(f"experiment={experiment}", f"tokenizer.{given}=x"))


def is_of(experiment: str, setting: str, departure: dict[str, str]) -> bool:
    patterns = departure["experiments"].split()
    return departure["setting"] == setting and any(fnmatch(experiment, each) for each in patterns)


def expected(row: dict[str, str]) -> Any:
    """What ours is to be: the original's value, or that of a departure from it."""
    ours = [each["ours"] for each in DEPARTURES if is_of(row["experiment"], row["setting"], each)]
    (value,) = ours or [row["value"]]
    return json.loads(value)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_value_is_the_originals_or_departs_with_a_reason(experiment: str) -> None:
    found = composed(experiment)
    rows = [row for row in ROWS if row["experiment"] == experiment]
    wrong = {
        row["setting"]: f"{found[row['setting']]}, not {expected(row)}: {row['source']}"
        for row in rows
        if found[row["setting"]] != expected(row)
    }
    assert wrong == {} and len(rows) > 30


def test_every_experiment_with_an_original_is_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert files == {*EXPERIMENTS, *WITHOUT_ORIGINAL}
    assert not WITHOUT_ORIGINAL & {*EXPERIMENTS}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_table_has_every_setting_that_the_original_has(experiment: str) -> None:
    has = {row["setting"] for row in ROWS if row["experiment"] == experiment}
    needless = (*WITHOUT_COUNTERPART, *NOT_READ[experiment.partition("_")[0]])
    lacking = {
        setting
        for setting in composed(experiment)
        if setting.partition(".")[0] in COMPARED
        and setting not in has
        and not any(fnmatch(setting, pattern) for pattern in needless)
    }
    assert lacking == set()
    assert {"train.epochs", "optimizer.lr_base_size"} <= has


@pytest.mark.parametrize("departure", DEPARTURES, ids=lambda each: each["setting"])
def test_a_departure_departs_and_says_why(departure: dict[str, str]) -> None:
    rows = [row for row in ROWS if is_of(row["experiment"], row["setting"], departure)]
    assert rows and len(departure["reason"]) > 20
    assert [row for row in rows if json.loads(row["value"]) == json.loads(departure["ours"])] == []


def test_every_value_names_its_file_and_line() -> None:
    place = re.compile(r"(beit2?|timm)/[\w/]+\.(py|md):\d+\b")
    assert [row for row in ROWS if not place.match(row["source"])] == []


def test_values_copied_from_the_documents_by_hand_are_in_the_table() -> None:
    values = {(row["experiment"], row["setting"]): json.loads(row["value"]) for row in ROWS}
    assert values["imagenet_base_pt22k", "optimizer.base_lr"] == 4e-3
    assert values["imagenet_large_512", "model.image_size"] == 512
    assert values["imagenet_base_pt1k", "model.layer_scale_init_value"] is None
    assert values["imagenet_base_pt1k", "model.rel_pos_bias"] is False
    assert values["beitv2_base_pt1k", "optimizer.layer_decay"] == 0.6
    assert values["beitv2_large", "optimizer.lr_base_size"] == 8 * 64 * 2
    assert values["intermediate_large", "optimizer.lr_base_size"] == 16 * 64 * 2
    assert values["pretrain_base", "scheduler.warmup_steps"] == 10000
    assert values["pretrain_base_1k", "scheduler.warmup_length"] == 10
    assert values["pretrain_v2_base", "mask.early_block"] == 9
    assert values["pretrain_v2_base", "train.epochs"] == 1600
    assert values["vqkd_base", "optimizer.beta"] == [0.9, 0.99]
    assert values["vqkd_base", "optimizer.base_lr"] == pytest.approx(4 * 5e-5)
