"""What there is to do: read by `--help`, which waits for no types of settings."""

from __future__ import annotations

from typing import Literal

TaskName = Literal[
    "finetune",
    "pretrain",
    "train_tokenizer",
    "evaluate",
    "predict",
    "explain",
    "features",
    "probe",
    "export",
    "soup",
    "check_data",
    "benchmark",
]
