"""Which weights a setting means: a file's, or a run's best, last or averaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import assert_never

from beit_exp.config.objective import metric_of
from beit_exp.config.schema import CheckpointKind
from beit_exp.errors import UserError
from beit_exp.storage.remote import local_copy
from beit_exp.train.checkpoint import BEST, CheckpointFolder, read_state

HUGGING_FACE_FILE = "model.safetensors"


class Source(NamedTuple):
    """Weights to be read."""

    path: Path
    is_averaged: bool  # the exponential moving average kept beside a checkpoint's own weights
    why: str  # these: the step they are of, and how they were chosen; empty for a foreign file

    def __str__(self) -> str:
        return f"{self.path}: {self.why}" if self.why else str(self.path)


def find_source(place: str, kind: CheckpointKind) -> Source:
    """What `checkpoint` or `model.pretrained` means: a file, or of a run directory `kind`.

    `UserError` if there are none such.
    """
    path = Path(local_copy(place))
    if (path / HUGGING_FACE_FILE).is_file():  # a folder that transformers, or task=export, wrote
        path /= HUGGING_FACE_FILE
    elif path.is_dir():
        path = _chosen(CheckpointFolder(path / "checkpoints", keep=1), kind, place)
    elif not path.is_file():
        raise UserError(f"{place} is missing: neither a run directory nor a weights file")
    state = read_state(path) if path.suffix == ".safetensors" else None
    if state is None and kind == "ema":
        raise UserError(f"checkpoint_kind = 'ema': {path} is no checkpoint of a run")
    is_averaged = kind == "ema"
    if is_averaged and state and state.get("config", {}).get("train", {}).get("ema_decay") is None:
        raise UserError(
            f"checkpoint_kind = 'ema': {place} was trained without averaged weights "
            "(train.ema_decay); best and last are there"
        )
    return Source(path, is_averaged, "" if state is None else _describe(path, state, kind))


def _chosen(folder: CheckpointFolder, kind: CheckpointKind, place: str) -> Path:
    newest = folder.newest_first()
    if not newest:
        raise UserError(f"{place} holds no checkpoint (looked for checkpoints/step_*.safetensors)")
    match kind:
        case "best":
            if not folder.best.exists():
                raise UserError(
                    f"{place} holds no best weights, for nothing has been evaluated yet; "
                    f"checkpoint_kind=last takes those of {newest[0].name}"
                )
            return folder.best
        case "last" | "ema":
            return newest[0]
        case _:
            assert_never(kind)


def _describe(path: Path, state: dict[str, Any], kind: CheckpointKind) -> str:
    if "trainer" not in state:
        return ""
    step, best = state["trainer"]["step"], state["progress"]["best"]
    metric = metric_of(state["config"]["objective"])
    if kind == "ema":
        return f"averaged up to step {step}"
    if path.name == BEST and metric in best:
        return f"step {step}, the best by {metric} ({best[metric]:.4f})"
    return f"step {step}"
