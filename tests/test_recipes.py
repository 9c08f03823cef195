from __future__ import annotations

from pathlib import Path

import pytest
from documents import english_text
from omegaconf import OmegaConf
from settings import ROOT, compose, make_config

from beit_exp.config.mapping import flatten
from beit_exp.config.schema import Config, Section, setting_names
from beit_exp.model.cost import FLOAT16, FLOAT32, training_bytes
from beit_exp.optim.groups import lr_scale
from beit_exp.optim.schedule import build_schedule
from beit_exp.optim.state import state_names

OPTIONS = [
    (folder.name, path.stem)
    for folder in sorted((ROOT / "conf").iterdir())
    if folder.is_dir() and folder.name != "sweep"
    for path in sorted(folder.glob("*.yaml"))
]
NEEDED = (
    "dataset.data_url=somewhere",
    "dataset.num_classes=10",
    "dataset.val_fraction=0.2",
    "dataset.test_fraction=0.1",
)
PRETRAINING = ("pretrain_base", "pretrain_large", "pretrain_v2_base")
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
    is_without_data = option in ("image_folder", "cifar10", "cifar100", "flowers", "own_images")
    extra = NEEDED if is_without_data and group != "augment" and group != "train" else ()
    if group == "experiment" and option.startswith(PRETRAINING):
        extra += ("tokenizer.weights=somewhere",)
    if group == "experiment" and option.startswith("vqkd"):
        extra += ("tokenizer.teacher=somewhere",)
    assert make_config(f"{group}={option}", *extra).seed == 42


IMAGENET = 1_281_167  # training images
# top-1; steps an epoch, of the warm-up and in all; peak rates of the first block, the last one and
# the head
FINE_TUNING = {
    "imagenet_base": (85.27, 2502, 12510, 75060, 2.8447e-6, 1.7e-5, 2e-5),
    "imagenet_base_384": (86.82, 2502, 12510, 75060, 2.8447e-6, 1.7e-5, 2e-5),
    "imagenet_large": (87.40, 2502, 12510, 75060, 1.5953e-6, 1.8e-5, 2e-5),
    "imagenet_large_384": (88.41, 2502, 12510, 75060, 1.5953e-6, 1.8e-5, 2e-5),
    "imagenet_large_512": (88.60, 2502, 12510, 75060, 1.5953e-6, 1.8e-5, 2e-5),
    "imagenet_base_pt22k": (83.7, 1251, 25020, 125100, 2.2752e-5, 2.6e-3, 4e-3),
    "imagenet_base_pt1k": (83.2, 1251, 25020, 125100, 2.2752e-5, 2.6e-3, 4e-3),
    "imagenet_large_pt22k": (86.0, 1251, 6255, 62550, 1.0034e-6, 7.5e-4, 1e-3),
    "beitv2_base": (86.46, 1251, 25020, 37530, 1.5838e-6, 3.75e-5, 5e-5),
    "beitv2_large": (88.37, 1251, 6255, 25020, 3.3057e-7, 5.6e-5, 7e-5),
    "beitv2_base_pt1k": (85.5, 1251, 25020, 125100, 1.0884e-6, 3e-4, 5e-4),
    "beitv2_large_pt1k": (87.3, 1251, 6255, 62550, 9.4447e-7, 1.6e-4, 2e-4),
}


@pytest.mark.parametrize("name", FINE_TUNING)
def test_a_fine_tuning_experiment_has_the_published_steps_and_rates(name: str) -> None:
    cfg = make_config(f"experiment={name}")
    top1, per_epoch, warmup, total, first, last, head = FINE_TUNING[name]
    images = cfg.train.batch_size * cfg.train.accumulate_steps * cfg.hardware.device_num
    assert IMAGENET // images == per_epoch
    schedule = build_schedule(
        cfg.scheduler,
        peak_lr=cfg.optimizer.base_lr,
        epochs=cfg.train.epochs,
        steps_per_epoch=per_epoch,
    )
    assert (len(schedule), int(schedule.argmax())) == (total, warmup - 1)
    scales = [
        lr_scale(part, depth=cfg.model.depth, decay=cfg.optimizer.layer_decay)
        for part in (
            "blocks.0.norm1.weight",
            f"blocks.{cfg.model.depth - 1}.norm1.weight",
            "head.weight",
        )
    ]
    assert [schedule.max() * scale for scale in scales] == pytest.approx(
        [first, last, head], rel=1e-3
    )
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
    assert f"top-1 {top1:g}" in text or f"top-1 {top1:.2f}" in text
    moments = len(state_names(cfg.optimizer))
    memory_gb = training_bytes(cfg, product=FLOAT16, layer=FLOAT32, moments=moments) / 1e9
    assert f"# memory: {memory_gb:.1f} GB a card, computed" in text
    (row,) = (
        line
        for line in english_text().splitlines()
        if line.startswith(f"| `{name}`") and f" {total:,} |" in line
    )
    assert f" {memory_gb:.1f} |" in row


# Global batch, base_lr, warm-up epochs or steps, epochs, layer_decay, drop_path, weight_decay, clip
PUBLISHED = {
    "pretrain_base": (2048, 1.5e-3, 10000, 150, 1.0, 0.1, 0.05, 3.0),
    "pretrain_base_1k": (2048, 1.5e-3, 10, 800, 1.0, 0.1, 0.05, 3.0),
    "intermediate_base": (4096, 3e-3, 5, 90, 0.65, 0.2, 0.05, 3.0),
    "intermediate_large": (2048, 2e-3, 5, 90, 0.75, 0.2, 0.05, 1.0),
}


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["pretrain_base", "pretrain_base_1k", "pretrain_large"])
def test_pre_training_has_the_second_beta_that_held_at_the_release_and_holds_now(name: str) -> None:
    """unilm 2312c6f and f8616f4, beit/run_beit_pretraining.py line 69; no command says another."""
    cfg = make_config(f"experiment={name}", "tokenizer.weights=x")
    assert cfg.optimizer.beta == [0.9, 0.999]


def test_imagenet_base_as_its_header_has_it_is_on_eight_cards_like_every_imagenet_recipe() -> None:
    typed = (ROOT / "conf" / "experiment" / "imagenet_base.yaml").read_text().splitlines()[1]
    overrides = [word for word in typed.split() if "=" in word and "pretrained" not in word]
    cfg = make_config(*overrides)
    assert (cfg.hardware.device_target, cfg.hardware.device_num) == ("ascend", 8)
    assert cfg.optimizer.lr_base_size == 8 * cfg.train.batch_size == 512


def test_imagenet_base_is_the_seed_documents_table() -> None:
    flat = flatten(make_config("experiment=imagenet_base"))
    assert {key: flat[key] for key in SEED_TABLE} == SEED_TABLE


def test_imagenet_base_follows_the_official_code_where_the_seed_departs_from_it() -> None:
    cfg = make_config("experiment=imagenet_base")
    assert cfg.dataset.mean == cfg.dataset.std == [0.5, 0.5, 0.5]
    assert cfg.scheduler.warmup_lr == 0.0


def test_an_override_wins_over_an_experiment() -> None:
    assert (
        make_config("experiment=imagenet_base", "optimizer.base_lr=3e-5").optimizer.base_lr == 3e-5
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda path: path.stem
)
def test_experiment_file_opens_with_its_command_and_its_expected_result(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert f"experiment={path.stem}" in lines[1]
    assert lines[2].startswith("# expected:")


def test_values_have_one_home() -> None:
    assert set(compose()) == set(Config.model_fields)
    for section in Config.__subclasses__() + Section.__subclasses__():
        assert all(field.is_required() for field in section.model_fields.values())


BASE = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "config.yaml"))


def test_every_setting_stands_in_the_first_file() -> None:
    placed = {
        f"{key}.{leaf}" if isinstance(value, dict) else key
        for key, value in BASE.items()
        if key not in ("defaults", "hydra")
        for leaf in (value if isinstance(value, dict) else [key])
    }
    assert placed == set(setting_names())


@pytest.mark.parametrize(
    ("group", "option"), [pair for pair in OPTIONS if pair[0] not in ("experiment", "sweep")]
)
def test_an_option_says_what_differs_from_the_first_file_and_nothing_else(
    group: str, option: str
) -> None:
    said = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / group / f"{option}.yaml"))
    said.pop("defaults", None)
    assert said and said.keys() <= BASE[group].keys()
    assert [key for key, value in said.items() if value == BASE[group][key]] == []


@pytest.mark.parametrize("epochs", [2, 3])
def test_the_quickstart_can_be_cut_to_a_few_epochs(epochs: int) -> None:
    assert make_config(f"train.epochs={epochs}").train.epochs == epochs
