"""A pre-training without a tokenizer trains one first.

That is a run of its own, in the run's directory, before it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import WrongSettingsError, build_config, save_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.process import (
    STOPPED,
    forwarding_signals,
    shell_status,
    start,
    worker_command,
    worker_environment,
)

FOLDER = "tokenizer"
FIXED: dict[str, Any] = {  # what a tokenizer's training allows alone
    "task": "train_tokenizer",
    "objective": "val/loss",
    "optimizer": {"layer_decay": 1.0, "lr_base_size": None},
    "hardware": {"amp_level": "O0", "is_dynamic_loss_scale": False, "loss_scale": 1.0},
    "train": {"recompute": False},
    "mask": {"early_block": None, "head_blocks": None, "shared_lm_head": True},
    "tokenizer": {"training": {}},
}
FIXED_OF_CODES: dict[str, Any] = {"train": {"ema_decay": None}}  # and that of tokenizer.kind=vqkd


def trains_tokenizer_first(cfg: Config) -> bool:
    """Whether the run is preceded by that of its tokenizer."""
    return cfg.task == "pretrain" and cfg.tokenizer.weights is None


def tokenizer_place(cfg: Config, run_dir: Path) -> str:
    """Where a pre-training finds its tokenizer."""
    return cfg.tokenizer.weights or str(run_dir / FOLDER)


def tokenizer_run(cfg: Config, run_dir: Path) -> Config:
    """The settings of the tokenizer's run: those of `cfg`, and over them `tokenizer.training`.

    `UserError` names what is wrong with them.
    """
    fixed = merge(FIXED, FIXED_OF_CODES) if cfg.tokenizer.kind == "vqkd" else FIXED
    values = merge(merge(cfg.model_dump(), fixed), cfg.tokenizer.training)
    values["tracking"]["run_name"] = f"{FOLDER} {cfg.tracking.run_name or run_dir.name}"
    values["tokenizer"]["training"] = {}
    try:
        return build_config(values)
    except WrongSettingsError as error:
        raise UserError(f"tokenizer.training: with it, of the tokenizer's run, {error}") from error


def train_tokenizer(cfg: Config, run_dir: Path) -> int:
    """Run, or resume, the tokenizer's training to its end; returns its exit status.

    A tokenizer that is there is left as it is.
    """
    folder = run_dir / FOLDER
    if (folder / "metrics.json").exists():
        return 0
    if not (folder / "config.yaml").exists():
        save_config(tokenizer_run(cfg, run_dir), folder / "config.yaml")
    print(f"first the tokenizer, in {folder}", flush=True)
    with forwarding_signals() as workers:
        worker = start(worker_command(folder), worker_environment())
        workers.add(worker)
        status = shell_status(worker.wait())
    if status not in (0, *STOPPED):
        print(f"the tokenizer's run in {folder} ended with exit status {status}", file=sys.stderr)
    return status


def merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with others over them."""
    merged = dict(values)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = (
            merge(inner, value)
            if isinstance(inner, dict) and isinstance(value, dict) and value
            else value
        )
    return merged
