"""Composed configurations, as the tests need them."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import OmegaConf

from beit_exp.config.mapping import build_config
from beit_exp.config.schema import Config
from beit_exp.launch.found_settings import find_settings

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
OFFICIAL = GOLDEN / "model" / "rel_pos" / "official.pth"  # weights of a small BEiT
TINY = (
    "model.embed_dim=32",
    "model.depth=2",
    "model.num_heads=2",
    "model.patch_size=16",
    "train.batch_size=16",
    "train.log_every_steps=1",
    "scheduler.warmup_length=1",
)

# The shape of the tokenizer in tests/golden/vqkd_tokenizer.pth and vqkd_training.npz
SMALL_VQKD = (
    "tokenizer=vqkd_encoder_base_decoder_1x768x12",
    "model.image_size=16",
    "model.patch_size=4",
    "tokenizer.embed_dim=12",
    "tokenizer.depth=2",
    "tokenizer.num_heads=3",
    "tokenizer.code_width=4",
    "tokenizer.vocabulary=8",
)
SMALL_TOKENIZER = (
    "tokenizer.vocabulary=16",
    "tokenizer.hidden=8",
    "tokenizer.decoder_input=8",
    "tokenizer.blocks_per_group=1",
)


def compose(*overrides: str) -> dict[str, Any]:
    """The plain values that launch.py would check."""
    return copy.deepcopy(_composed(*overrides))


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)


@cache
def make_config(*overrides: str) -> Config:
    return build_config(find_settings(compose(*overrides)))


def pretraining(data: Path, *more: str) -> Config:
    """Pre-training of a tiny network on the digits in a folder."""
    return make_config(
        "experiment=pretrain_digits",
        *TINY,
        *SMALL_TOKENIZER,
        "model.patch_size=8",
        "mask.num_mask_patches=7",
        "mask.min_mask_patches_per_block=2",
        f"dataset.data_url={data}",
        *more,
    )


def part(arrays: dict[str, np.ndarray], beginning: str) -> dict[str, np.ndarray]:
    """The arrays of a reference file below a name, without it."""
    whole = f"{beginning}/"
    return {
        name.removeprefix(whole): array for name, array in arrays.items() if name.startswith(whole)
    }
