"""What to type after a run: commands that hold the settings which the next run must share."""

from __future__ import annotations

import json
from typing import Any

import hydra
from omegaconf import OmegaConf

from beit_exp.config.command_line import launch_command, override
from beit_exp.config.mapping import flatten, look_up
from beit_exp.config.schema import Config, setting_names
from beit_exp.data.pool import is_pooled
from beit_exp.launch.composition import CONF

SHAPE = (  # of a network; the rest of `model` belongs to the recipe, not to the weights
    "arch",
    "image_size",
    "patch_size",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "abs_pos_emb",
    "layer_scale_init_value",
)

PRETRAINING = {  # experiment by the tokenizer's kind, and whether it is of the digits
    ("dvae", True): "pretrain_digits",
    ("dvae", False): "pretrain_base",
    ("vqkd", True): "pretrain_digits_v2",
    ("vqkd", False): "pretrain_v2_base",
}
OF_ITS_TRAINING = ("tokenizer.weights", "tokenizer.training", "tokenizer.teacher")


def finetuning_command(cfg: Config, place: str) -> str:
    """Fine-tuning of a pre-trained network: the quickstart's recipe on the run's own data."""
    choices = [f"dataset={cfg.dataset.name}"] if cfg.dataset.name != "digits" else []
    if (CONF / "model" / f"{cfg.model.arch}.yaml").exists() and cfg.model.arch != "beit_micro":
        choices.append(f"model={cfg.model.arch}")
    keys = [*(f"model.{name}" for name in SHAPE), *keys_of_data(cfg)]
    words = [*choices, override("model.pretrained", place), *differing(cfg, keys, choices)]
    judged = ["objective=val/map"] if cfg.dataset.multi_label else []  # accuracies are of one label
    return launch_command(*words, *judged)


def pretraining_command(cfg: Config, place: str) -> str:
    """Pre-training with a tokenizer that is trained, on its own data."""
    choices = [f"experiment={PRETRAINING[cfg.tokenizer.kind, cfg.dataset.name == 'digits']}"]
    if cfg.dataset.name == "image_folder":
        choices.append("dataset=image_folder")
    keys = [
        *("model.image_size", *(["model.patch_size"] if cfg.tokenizer.kind == "vqkd" else [])),
        *keys_of_data(cfg),
        *(key for key in keys_of("tokenizer") if not key.startswith(OF_ITS_TRAINING)),
    ]
    words = [*choices, override("tokenizer.weights", place), *differing(cfg, keys, choices)]
    return launch_command(*words)


def keys_of(section: str) -> list[str]:
    """The full names of a section's settings."""
    return [key for key in setting_names() if key.startswith(f"{section}.")]


def keys_of_data(cfg: Config) -> list[str]:
    """What the next run must share to hold out the same images: a split is drawn by the seed."""
    return [*keys_of("dataset"), *(["seed"] if is_pooled(cfg.dataset) else [])]


def differing(cfg: Config, keys: list[str], choices: list[str]) -> list[str]:
    """Overrides for those of `keys` that a command with these `choices` would set otherwise."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed: Any = OmegaConf.to_container(hydra.compose("config", choices), resolve=True)
    values = flatten(cfg)
    return [setting(key, values[key]) for key in keys if look_up(composed, key) != values[key]]


def setting(key: str, value: Any) -> str:
    """`key=value` such that Hydra finds this very value."""
    return override(key, value) if isinstance(value, str) else f"{key}={json.dumps(value)}"
