"""The arrays of a weights file fitted to the parameters of a network.

A shared table of relative positions is copied to every block, tables and position embeddings are
carried to the network's grid, a foreign head is left out. Whatever else differs is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from beit_exp.errors import UserError
from beit_exp.weights.architecture import SHARED_TABLE, Shapes, settings_that_fit
from beit_exp.weights.names import TABLE, Arrays
from beit_exp.weights.resize import is_embedding_size, is_table_size, resize_positions, resize_table

PRETRAINING_MARKS = ("mask_token", "lm_head.")  # what self-supervised weights alone hold
# Of BEiT v2, what predicts from the class token: beit2/modeling_pretrain.py, `cls_pt_layers`,
# `cls_pt_norm`, `cls_pt_lm_head`; beit2/run_class_finetuning.py leaves it aside, too
PRETRAINING_ONLY = (*PRETRAINING_MARKS, "norm.", "cls_pt_")
BESIDE_BLOCKS = (*PRETRAINING_ONLY, "fc_norm.", "head.")  # what no block reads
SHOWN = 16  # names in a line of the table
SHOWN_PROBLEMS = 4


@dataclass
class Outcome:
    """What became of every tensor of a file and every parameter of the network."""

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # in words; none where the file fits

    def table(self) -> str:
        """A line for each fate: how many, and which."""
        rows = {
            "resized": self.resized,
            "dropped": self.dropped,
            "left new": self.new,
            "unused": self.unused,
        }
        lines = [f"{'what':10}{'count':>6}  which", f"{'loaded':10}{len(self.loaded):>6}"]
        for what, names in rows.items():
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            lines.append(f"{what:10}{len(names):>6}  {shown}".rstrip())
        return "\n".join(lines)


def fit_to(
    shapes: Shapes, source: Arrays, *, path: Path, may_be_new: tuple[str, ...]
) -> tuple[Arrays, Outcome]:
    """Float32 arrays of the network's shapes, and what was done to have them.

    `may_be_new` are the beginnings of names that may stay as the network has them; these have no
    array. `UserError` lists what is missing in the file at `path`, of another shape, or without a
    place.
    """
    given = {name: array.shape for name, array in source.items()}
    source = spread_shared_table(source, shapes)
    found = {name: array.shape for name, array in source.items()}
    outcome = compare(found, shapes, may_be_new=may_be_new)
    if outcome.problems:
        raise UserError(does_not_fit(path, outcome.problems) + _mend(given, shapes))
    arrays = {
        name: carry(name, source[name], shape)
        for name, shape in shapes.items()
        if name not in outcome.new
    }
    return arrays, outcome


def _mend(found: Shapes, wanted: Shapes) -> str:
    """The settings with which the network would be that of the file, if they are told apart."""
    settings = settings_that_fit(found, wanted)
    return f". With these settings it would: {' '.join(settings)}" if settings else ""


def spread_shared_table(source: Arrays, shapes: Shapes) -> Arrays:
    """Copy the one table of a pretrained network to each block that has a table of its own."""
    blocks = [name for name in shapes if name.endswith(f".rel_pos.{TABLE}")]
    if SHARED_TABLE not in source or SHARED_TABLE in shapes or not blocks:
        return source
    spread = {name: array for name, array in source.items() if name != SHARED_TABLE}
    return spread | dict.fromkeys(blocks, source[SHARED_TABLE])


def compare(found: Shapes, wanted: Shapes, *, may_be_new: tuple[str, ...]) -> Outcome:
    """Sort every name of a file and of a network by what is to become of it."""
    outcome = Outcome()
    is_pretraining = any(name.startswith(PRETRAINING_MARKS) for name in found)
    for name, shape in wanted.items():
        is_optional = name.startswith(may_be_new)
        if name in found:
            _sort_found(outcome, name, found[name], shape, is_optional=is_optional)
        elif is_optional and is_pretraining:  # such weights have neither head nor final norm
            outcome.new.append(name)
        else:
            outcome.problems.append(f"{name} {shape} is missing")
    for name in found:
        if name in wanted:
            continue
        if is_pretraining and name.startswith(PRETRAINING_ONLY):
            outcome.unused.append(name)
        else:
            outcome.problems.append(f"{name} {found[name]} has no place in the network")
    return outcome


def _sort_found(
    outcome: Outcome,
    name: str,
    found: tuple[int, ...],
    wanted: tuple[int, ...],
    *,
    is_optional: bool,
) -> None:
    if found == wanted:
        outcome.loaded.append(name)
    elif is_optional and is_foreign_head(name, found, wanted):
        outcome.dropped.append(f"{name} {found}")
        outcome.new.append(name)
    elif is_resizable(name, found, wanted):
        outcome.resized.append(f"{name} {found} -> {wanted}")
    else:
        outcome.problems.append(f"{name} is {found}, needed {wanted}")


def is_foreign_head(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a head differs in its number of classes alone."""
    return name.startswith("head.") and found[1:] == wanted[1:]


def is_resizable(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether `carry` can bring a tensor from one shape to the other."""
    if len(found) != len(wanted):
        return False
    if name.endswith(TABLE):
        return found[1:] == wanted[1:] and is_table_size(found[0]) and is_table_size(wanted[0])
    return (
        name == "pos_embed"
        and found[::2] == wanted[::2]
        and is_embedding_size(found[1])
        and is_embedding_size(wanted[1])
    )


def carry(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of `shape`: the same values, or those of another grid resized to this one."""
    if array.shape != shape:
        array = (
            resize_table(array, shape[0])
            if name.endswith(TABLE)
            else resize_positions(array, shape[1])
        )
    return array.astype(np.float32)


def does_not_fit(path: Path, problems: list[str]) -> str:
    """The message that names the first few problems."""
    more = "; ..." if len(problems) > SHOWN_PROBLEMS else ""
    listed = "; ".join(problems[:SHOWN_PROBLEMS]) + more
    return f"{path} does not fit the network: {len(problems)} tensors differ: {listed}"
