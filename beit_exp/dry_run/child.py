"""The process of a dry run: a worker on a simulated card.

It tells what only it knows, and ends at once, without the clean-up at which the stubs stumble.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import mindspore as ms
import numpy as np

from beit_exp import worker
from beit_exp.config.mapping import load_config
from beit_exp.dry_run.simulation import CARD_KIND, FACTS
from beit_exp.hardware import card
from beit_exp.hardware.device import Runtime
from beit_exp.storage.files import write_atomically
from beit_exp.train.memory import computed_bytes

WITH_FORMULA = ("finetune", "benchmark")  # the tasks of which `training_bytes` tells


def main(run_dir: Path) -> NoReturn:
    """Do the run of a directory and leave `dry_run.json` there."""
    cfg = load_config(run_dir / "config.yaml")
    gathered: list[int] = []
    answer_for_other_ranks(gathered)
    kind = os.environ[CARD_KIND]
    card.soc_version = lambda: kind
    status = worker.main([str(run_dir)])
    facts = {
        "exit_status": status,
        "planned_bytes": ms.runtime.max_memory_allocated(),
        "computed_bytes": computed_bytes(cfg, half=ms.float16)
        if cfg.task in WITH_FORMULA
        else None,
        "gathered_bytes": gathered,
    }
    write_atomically(run_dir / FACTS, json.dumps(facts, indent=1).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def answer_for_other_ranks(gathered: list[int]) -> None:
    """Let the other ranks have sent what this one did: a simulated collective brings zeros.

    The collective itself is done all the same. `gathered` gets the bytes of every one.
    """
    gather = Runtime.gather

    def gather_alike(runtime: Runtime, values: np.ndarray) -> np.ndarray:
        found = gather(runtime, values)
        if runtime.size > 1:
            gathered.append(found.nbytes)
        row = np.asarray(values, dtype=np.float32)
        return np.broadcast_to(row, (runtime.size, *row.shape)).copy()

    Runtime.gather = gather_alike  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
