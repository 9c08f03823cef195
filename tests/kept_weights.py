"""Run directories of fine-tunings that nobody did: settings, a result, and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.train.checkpoint import CheckpointFolder

WEIGHT = "blocks.0.norm1.weight"


class Held(NamedTuple):
    """A parameter, without MindSpore's seconds of import."""

    array: np.ndarray

    def asnumpy(self) -> np.ndarray:
        return self.array


def write_training(
    run_dir: Path,
    *overrides: str,
    top1: float = 50.0,
    classes: str | None = "0123456789",
    length: int = 3,
    steps: tuple[int, ...] = (10,),
    best_step: int = 10,
    keep: int = 2,
    split: str | None = None,
) -> Path:
    """A finished run, whose weights are the number of their step."""
    cfg = make_config(*overrides)
    save_config(cfg, run_dir / "config.yaml")
    (run_dir / "metrics.json").write_text("{}")
    record = {"step": best_step, "epoch": 1.0, "time": 0.0, "val/top1": top1}
    record |= {"val/loss": 2 - top1 / 100}
    (run_dir / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    if split is not None:
        (run_dir / "split.csv").write_text(split)
    folder = CheckpointFolder(run_dir / "checkpoints", keep=keep)
    for step in steps:
        state = {"trainer": {"step": step}, "progress": {"best": {"val/top1": top1}}}
        state |= {"config": cfg.model_dump()} | ({} if classes is None else {"classes": [*classes]})
        tensors = {f"model/{WEIGHT}": Held(np.full(length, step, np.float32))}
        folder.save(tensors, state, step=step, is_best=step == best_step)
    return run_dir
