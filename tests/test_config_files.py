from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, compose, make_config

from beit_exp import config

OPTIONS = [
    (folder.name, path.stem)
    for folder in sorted((ROOT / "conf").iterdir())
    if folder.is_dir() and folder.name != "sweep"
    for path in sorted(folder.glob("*.yaml"))
]
NEEDED = ("dataset.data_url=somewhere", "dataset.num_classes=10")

SEED_TABLE = {
    "model.arch": "beit_base_patch16_224",
    "dataset.name": "imagenet",
    "dataset.num_classes": 1000,
    "augment.mix_up": 0.0,
    "augment.cutmix": 0.0,
    "augment.auto_augment": "rand-m9-mstd0.5-inc1",
    "augment.interpolation": "bicubic",
    "augment.re_prob": 0.25,
    "augment.re_mode": "pixel",
    "augment.re_count": 1,
    "augment.mixup_prob": 1.0,
    "augment.switch_prob": 0.5,
    "augment.mixup_mode": "batch",
    "model.image_size": 224,
    "dataset.crop_pct": 0.875,
    "optimizer.name": "adamw",
    "optimizer.base_lr": 2e-5,
    "scheduler.min_lr": 1e-6,
    "scheduler.name": "cosine_lr",
    "scheduler.warmup_length": 5,
    "optimizer.layer_decay": 0.85,
    "hardware.amp_level": "O1",
    "optimizer.beta": [0.9, 0.999],
    "optimizer.clip_global_norm_value": 5.0,
    "hardware.is_dynamic_loss_scale": True,
    "train.epochs": 30,
    "scheduler.cooldown_epochs": 0,
    "augment.label_smoothing": 0.1,
    "optimizer.weight_decay": 1e-8,
    "optimizer.momentum": 0.9,
    "train.batch_size": 64,
    "model.drop_path_rate": 0.1,
    "hardware.num_parallel_workers": 16,
    "hardware.device_target": "ascend",
    "model.rel_pos_bias": True,
    "model.abs_pos_emb": False,
    "model.layer_scale_init_value": 0.1,
}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_to_a_valid_configuration(group: str, option: str) -> None:
    extra = NEEDED if group == "dataset" and option == "image_folder" else ()
    is_with_tokenizer = group == "experiment" and option.startswith(("pretrain_base", "pretrain_large"))
    extra += ("tokenizer.weights=somewhere",) if is_with_tokenizer else ()
    assert make_config(f"{group}={option}", *extra).seed == 42


PUBLISHED = {  # global batch, base_lr, warm-up epochs or steps, epochs, layer_decay, drop_path, weight_decay, clip
    "pretrain_base": (2048, 1.5e-3, 10000, 150, 1.0, 0.1, 0.05, 3.0),
    "pretrain_base_1k": (2048, 1.5e-3, 10, 800, 1.0, 0.1, 0.05, 3.0),
    "intermediate_base": (4096, 3e-3, 5, 90, 0.65, 0.2, 0.05, 3.0),
    "intermediate_large": (2048, 2e-3, 5, 90, 0.75, 0.2, 0.05, 1.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_experiment_is_the_published_command(name: str) -> None:
    cfg = make_config(f"experiment={name}", "tokenizer.weights=x")
    assert (
        cfg.train.batch_size * cfg.train.accumulate_steps * cfg.hardware.device_num,
        cfg.optimizer.base_lr,
        cfg.scheduler.warmup_steps or cfg.scheduler.warmup_length,
        cfg.train.epochs,
        cfg.optimizer.layer_decay,
        cfg.model.drop_path_rate,
        cfg.optimizer.weight_decay,
        cfg.optimizer.clip_global_norm_value,
    ) == PUBLISHED[name]


def test_imagenet_base_is_the_seed_documents_table() -> None:
    flat = config.flatten(make_config("experiment=imagenet_base"))
    assert {key: flat[key] for key in SEED_TABLE} == SEED_TABLE


def test_imagenet_base_follows_the_official_code_where_the_seed_departs_from_it() -> None:
    cfg = make_config("experiment=imagenet_base")
    assert cfg.dataset.mean == cfg.dataset.std == [0.5, 0.5, 0.5]
    assert cfg.scheduler.warmup_lr == 0.0


def test_an_override_wins_over_an_experiment() -> None:
    assert make_config("experiment=imagenet_base", "optimizer.base_lr=3e-5").optimizer.base_lr == 3e-5


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_experiment_file_opens_with_its_command_and_its_expected_result(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert f"experiment={path.stem}" in lines[1]
    assert lines[2].startswith("# expected:")


def test_values_have_one_home() -> None:
    assert set(compose()) == set(config.Config.model_fields)
    for section in config.Config.__subclasses__() + config.Section.__subclasses__():
        assert all(field.is_required() for field in section.model_fields.values())


@pytest.mark.parametrize("epochs", [2, 3])
def test_the_quickstart_can_be_cut_to_a_few_epochs(epochs: int) -> None:
    assert make_config(f"train.epochs={epochs}").train.epochs == epochs
