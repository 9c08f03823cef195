"""Checkpoints: one safetensors file each, whole and checked, or not there.

A file holds `model/`, `optimizer/` and `ema/` tensors under our parameter names; its metadata hold
the state of the run, the class names, and the SHA-256 of this and of the tensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from beit_exp.config.command_line import module_command
from beit_exp.errors import UserError
from beit_exp.storage.files import replacing
from beit_exp.storage.foreign import reading

if TYPE_CHECKING:
    from mindspore import Parameter

logger = logging.getLogger(__name__)

FORMAT = "beit-exp-2"
FIRST_FORMAT = "beit-exp-1"  # its checksum is of the tensors' names and values alone
UNREADABLE = "cannot be read"
BEST = "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a file held: named arrays and the state saved with them."""

    path: Path
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointFolder:
    """The `checkpoints/` of a run:

    `step_*.safetensors`, the newest of which are kept, and `best.safetensors`.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def best(self) -> Path:
        return self.folder / BEST

    def newest_first(self) -> list[Path]:
        found = self.folder.glob("step_*.safetensors")
        return sorted((path for path in found if path.is_file()), reverse=True)

    def save(
        self, tensors: dict[str, Parameter], state: dict[str, Any], *, step: int, is_best: bool
    ) -> Path:
        """Write a checkpoint, name it the best if it is, and only then remove older ones."""
        path = self.folder / f"step_{step:08d}.safetensors"
        try:
            save_checkpoint(path, tensors, state)
            if is_best:
                self.name_best(path)
        except (OSError, SafetensorError) as error:
            last = next((str(kept) for kept in self.newest_first()), "none")
            raise UserError(
                f"the checkpoint of step {step} could not be written ({error}). The last good "
                f"one is {last}. "
                f"Free some space, then: {module_command('worker', self.folder.parent)}"
            ) from error
        for old in self.newest_first()[self.keep :]:
            old.unlink()
        return path

    def name_best(self, path: Path) -> None:
        """Let the best weights be those of this checkpoint."""
        with replacing(self.best) as temporary:
            temporary.unlink()
            os.link(path, temporary)

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None where there is none; damaged ones are
        reported.
        """
        paths = self.newest_first()
        for path in paths:
            try:
                return load_checkpoint(path)
            except UserError as error:
                then = "" if path == paths[-1] else "; the one before it is used"
                logger.error("%s%s", error, then)
        if paths:
            raise UserError(
                f"none of the {len(paths)} checkpoints in {self.folder} can be read; see the "
                "lines above. To begin anew all the same, remove them or choose another "
                "hydra.run.dir"
            )
        return None

    def clear_litter(self) -> None:
        """Remove what a killed process was writing, or safetensors for it; only while no other
        process writes here.
        """
        for path in self.folder.glob(".*"):
            if not path.is_dir():
                path.unlink()


def save_checkpoint(path: Path, tensors: dict[str, Parameter], state: dict[str, Any]) -> None:
    """Write parameters and state to `path`, atomically."""
    arrays = {name: parameter.asnumpy() for name, parameter in tensors.items()}
    text = json.dumps(state)
    checksums = {"sha256": _digest(arrays), "state_sha256": _digest_of_text(text)}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"format": FORMAT, "state": text, **checksums})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and check what `save_checkpoint` wrote; `UserError` says what is wrong with any other
    file.
    """
    with reading(path, UNREADABLE), safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") not in (FORMAT, FIRST_FORMAT):
            raise UserError(f"{path} is not a checkpoint of this project")
        state = _checked_state(path, metadata)
        names = file.keys()  # it is no mapping: nothing but this lists them
        arrays = {name: file.get_tensor(name) for name in names}
        if _digest(arrays, with_kinds=metadata["format"] == FORMAT) != metadata.get("sha256"):
            raise UserError(
                f"the checkpoint {path} is damaged: its checksum does not match its tensors"
            )
        return Checkpoint(path, arrays, state)


def read_state(path: Path) -> dict[str, Any] | None:
    """The state saved with the tensors, without these; None for a file that is none of ours."""
    with reading(path, UNREADABLE):
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        is_ours = metadata.get("format") in (FORMAT, FIRST_FORMAT)
        return _checked_state(path, metadata) if is_ours else None


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a checkpoint by its name, without these."""
    with reading(path, UNREADABLE), safe_open(path, framework="numpy") as file:
        names = file.keys()
        return {name: tuple(file.get_slice(name).get_shape()) for name in names}


def _checked_state(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    is_checked = metadata["format"] == FORMAT
    if is_checked and _digest_of_text(metadata["state"]) != metadata.get("state_sha256"):
        raise UserError(f"the checkpoint {path} is damaged: its checksum does not match its state")
    return dict(json.loads(metadata["state"]))


def restore(checkpoint: Checkpoint, tensors: dict[str, Parameter]) -> None:
    """Set every parameter from the checkpoint; both must name the same tensors with the same
    shapes.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in tensors.items()}
    saved = {name: array.shape for name, array in checkpoint.tensors.items()}
    if shapes != saved:
        unlike = sorted(
            name for name in shapes.keys() | saved.keys() if shapes.get(name) != saved.get(name)
        )
        raise UserError(
            f"the checkpoint {checkpoint.path} is of another model or optimizer: {len(unlike)} "
            "tensors differ, "
            f"such as {unlike[0]} (saved {saved.get(unlike[0])}, needed {shapes.get(unlike[0])}). "
            "Resume it with its own settings, or choose another hydra.run.dir"
        )
    from mindspore import Tensor  # seconds, which those who read a checkpoint's settings need not

    for name, parameter in tensors.items():
        parameter.set_data(Tensor(checkpoint.tensors[name]))


def _digest(arrays: dict[str, np.ndarray], *, with_kinds: bool = True) -> str:
    """Of names and values and, `with_kinds`, of element types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        kind = f" {array.dtype.str} {array.shape}\n" if with_kinds else ""
        digest.update(f"{name}{kind}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
