"""A run's directory before its worker starts.

The settings are written, or compared with those that are there.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from beit_exp.config.mapping import differences, load_config, save_config
from beit_exp.config.schema import Config
from beit_exp.config.traits import task_traits
from beit_exp.data.sources import check_folders
from beit_exp.errors import UserError
from beit_exp.report.runs import FAILED_FILE
from beit_exp.storage.files import write_atomically
from beit_exp.storage.remote import is_remote

FREE_ON_RESUME = (  # what changes neither the weights that a run arrives at nor its metrics
    "tracking.",
    "allow_changes",
    "hardware.num_parallel_workers",
    "hardware.node_rank",
    "hardware.master_",
    "train.keep_checkpoints",
    "train.checkpoint_url",
)


def check_files(cfg: Config) -> None:
    """Raise `UserError` for missing files and packages before anything heavy starts."""
    needed = {"checkpoint": cfg.checkpoint}
    traits = task_traits(cfg.task)
    if traits.reads_pretrained:
        needed["model.pretrained"] = cfg.model.pretrained
    if cfg.task == "pretrain":
        needed["tokenizer.weights"] = cfg.tokenizer.weights
    for key, place in needed.items():
        if place is not None and not is_remote(place) and not Path(place).exists():
            raise UserError(f"{key} = {place!r}: there is no such file or run directory")
    if (
        cfg.task == "export"
        and "onnx" in cfg.export.formats
        and not all(map(find_spec, ("onnx", "onnxruntime")))
    ):
        raise UserError(
            "export.formats: onnx needs other packages: "
            "pip install -c .ci/constraints.txt -e '.[onnx]'"
        )
    if cfg.images is not None and not Path(cfg.images).exists():
        raise UserError(f"images = {cfg.images!r}: there is no such folder or file")
    if traits.reads_class_folders:
        check_folders(cfg.dataset)


def prepare(cfg: Config, run_dir: Path) -> bool:
    """Write the configuration; returns whether its run is done.

    A directory that holds another run raises `UserError`: a run is resumed with its own settings.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        save_config(cfg, path)
        return False
    differing = {
        key: values
        for key, values in differences(load_config(path), cfg).items()
        if not key.startswith(FREE_ON_RESUME)
    }
    changed = {
        key: values
        for key, values in differing.items()
        if not key.startswith(tuple(cfg.allow_changes))
    }
    if changed:
        listed = [
            f"{key}: {old!r} there, {new!r} here" for key, (old, new) in sorted(changed.items())
        ]
        raise UserError(
            "\n  ".join(
                [
                    f"{run_dir} holds another run; it can be resumed with its own settings alone:",
                    *listed,
                ]
            )
            + f"\nTo resume it as it is: python -m beit_exp.worker {run_dir}"
            + f"\nTo change them all the same: allow_changes=[{','.join(sorted(changed))}]"
        )
    save_config(cfg, path)
    return not differing and (run_dir / "metrics.json").exists()


def mark_failed(run_dir: Path, code: int, message: str) -> None:
    """Leave in a run directory why there is no result."""
    failure = {"exit_status": code, "message": message}
    write_atomically(run_dir / FAILED_FILE, json.dumps(failure, indent=1).encode())


def last_error(run_dir: Path) -> str | None:
    """The last error that a run's log tells."""
    log = run_dir / "launch.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    found = [line.partition(": ")[2] for line in lines if " ERROR " in line]
    return found[-1] if found else None
