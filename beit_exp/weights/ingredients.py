"""What can be averaged: the weights of a sweep's jobs, or of the kept checkpoints of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from beit_exp.config.schema import CheckpointKind
from beit_exp.errors import UserError
from beit_exp.report.runs import Run, is_run_directory, judged_alike, ranked, read_place
from beit_exp.storage.foreign import reading
from beit_exp.storage.remote import is_remote
from beit_exp.tracking.records import SPLIT_FILE
from beit_exp.train.checkpoint import CheckpointFolder, read_shapes, read_state
from beit_exp.weights.names import Arrays
from beit_exp.weights.read import PREFIX, read_weights
from beit_exp.weights.source import Source, find_source

# Of `dataset`
FREE = ("images_per_class", "bad_images")  # leaves the held-out images, and what is seen of them
SEEN = ("crop_pct", "interpolation", "mean", "std")  # changes what a network sees of an image


class Ingredient(NamedTuple):
    """Weights to be averaged with others."""

    name: str  # of the job, or of the checkpoint
    run_dir: Path
    source: Source
    state: dict[str, Any]  # of the checkpoint

    def read(self) -> Arrays:
        """Its float32 arrays under our names; `UserError` if the file is damaged."""
        return read_weights(self.source.path, is_averaged=self.source.is_averaged)


def find_ingredients(place: str, kind: CheckpointKind) -> list[Ingredient]:
    """The weights of `kind` of a sweep's finished jobs, by name, or of a run's steps, in order.

    `UserError` if there are fewer than two, if one is damaged, or if they are of unlike networks,
    classes or splits.
    """
    folder = Path(place)
    if is_remote(place) or not folder.is_dir():
        raise UserError(
            f"checkpoint = {place!r}: must be the directory of a run or of a sweep, on this "
            "machine, for task=soup"
        )
    if is_run_directory(folder):
        found, what = _kept(folder, kind), "checkpoints; train.keep_checkpoints keeps more"
    else:
        found, what = _of_jobs(folder, kind), "finished jobs of task=finetune"
    if len(found) < 2:
        raise UserError(
            f"checkpoint = {place!r}: there is nothing to average: it holds {len(found)} {what}"
        )
    for other in found[1:]:
        _check_alike(found[0], other)
    return found


def finished_jobs(sweep_dir: Path) -> list[Run]:
    """The fine-tunings of a sweep that are done, by name."""
    return [
        run
        for run in read_place(sweep_dir)
        if run.status == "finished" and run.settings.get("task") == "finetune"
    ]


def best_job(sweep_dir: Path) -> Path | None:
    """The directory of a sweep's best finished job by its objective; None if none is."""
    jobs = finished_jobs(sweep_dir)
    return ranked(judged_alike(jobs))[0].folder if jobs else None


def _of_jobs(sweep_dir: Path, kind: CheckpointKind) -> list[Ingredient]:
    folders = [sweep_dir / run.name for run in finished_jobs(sweep_dir)]
    sources = [find_source(str(folder), kind) for folder in folders]
    return [
        Ingredient(folder.name, folder, source, _state(source.path))
        for folder, source in zip(folders, sources, strict=True)
    ]


def _kept(run_dir: Path, kind: CheckpointKind) -> list[Ingredient]:
    """The checkpoints of a run by step: its newest and, if it is none of these, its best."""
    folder = CheckpointFolder(run_dir / "checkpoints", keep=1)
    paths = [*folder.newest_first(), *([folder.best] if folder.best.is_file() else [])]
    by_step: dict[int, Ingredient] = {}
    for path in paths:
        state = _state(path)
        source = find_source(str(path), kind)
        by_step.setdefault(state["trainer"]["step"], Ingredient(path.stem, run_dir, source, state))
    return [ingredient for _, ingredient in sorted(by_step.items())]


def _state(path: Path) -> dict[str, Any]:
    state = read_state(path) or {}
    if "classes" not in state:
        raise UserError(f"{path} cannot be averaged: it is no checkpoint of a fine-tuning")
    return state


def _check_alike(first: Ingredient, other: Ingredient) -> None:
    """Raise `UserError` unless two ingredients have the same tensors, classes and splits."""
    why = _unlike_classes(first.state, other.state) or _unlike_data(first, other)
    why = why or _unlike_shapes(first.source.path, other.source.path)
    if why:
        raise UserError(f"{other.source.path} cannot be averaged with {first.source.path}: {why}")


def _unlike_classes(first: dict[str, Any], other: dict[str, Any]) -> str:
    ours, theirs = other["classes"], first["classes"]
    if len(ours) != len(theirs):
        return f"it has {len(ours)} classes, not {len(theirs)}"
    unlike = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    return f"its class {unlike[0][0]!r} is {unlike[0][1]!r} there" if unlike else ""


def _unlike_data(first: Ingredient, other: Ingredient) -> str:
    """What may have let one train on images that another was validated on."""
    danger = "an image that one is validated on may have been trained on by the other"
    ours, theirs = (one.state["config"]["dataset"] for one in (other, first))
    for name in sorted((ours.keys() | theirs.keys()) - set(FREE)):
        if ours.get(name) != theirs.get(name):
            why = "their networks see an image differently" if name in SEEN else danger
            return f"dataset.{name} is {ours.get(name)!r}, not {theirs.get(name)!r}: {why}"
    if _split(first.run_dir) == _split(other.run_dir):
        return ""
    seeds = [one.state["config"]["seed"] for one in (other, first)]
    drawn = f" (seed {seeds[0]}, not {seeds[1]}, draws it)" if seeds[0] != seeds[1] else ""
    return (
        f"it was trained with another split{drawn}: {danger}. A val/ of its own, or a table with "
        "a column `split`, gives jobs of several seeds the same"
    )


def _split(run_dir: Path) -> bytes:
    path = run_dir / SPLIT_FILE
    if not path.is_file():
        return b""
    with reading(path):
        return path.read_bytes()


def _unlike_shapes(first: Path, other: Path) -> str:
    ours, theirs = _shapes(other), _shapes(first)
    names = sorted(ours.keys() | theirs.keys())
    unlike = [name for name in names if ours.get(name) != theirs.get(name)]
    if not unlike:
        return ""
    name = unlike[0]
    return (
        f"{len(unlike)} tensors differ, such as {name} "
        f"({ours.get(name, 'missing')}, not {theirs.get(name, 'missing')})"
    )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {
        name.removeprefix(PREFIX): shape
        for name, shape in read_shapes(path).items()
        if name.startswith(PREFIX)
    }
