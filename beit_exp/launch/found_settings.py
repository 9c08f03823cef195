"""Settings that are `auto`: found in the weights and in the data set before a run begins."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from beit_exp.config.mapping import read_mapping
from beit_exp.config.schema import CheckpointKind, DatasetConfig
from beit_exp.config.task_name import TaskName
from beit_exp.config.traits import dataset_traits, task_traits
from beit_exp.errors import UserError
from beit_exp.launch.composition import CONF, CONFIG_NAME
from beit_exp.storage.remote import is_remote

AUTO, MISSING = "auto", "???"
ALL_AUTO = CONF / "model" / "auto.yaml"
WITHOUT_WEIGHTS = CONF / "model" / "beit_micro_patch8_64.yaml"  # what model=auto is then
SHARES = {"val_fraction": 0.2, "test_fraction": 0.1}  # where there is no val/
OBJECTIVES = ("val/balanced_accuracy", "val/map")  # of one label an image, and of several
RATES = {  # of optimizer: from scratch, and from weights
    "base_lr": (5e-4, 5e-5),
    "layer_decay": (1.0, 0.75),
}


def names_that_may_be_auto() -> set[str]:
    """Full keys of the settings that can be found."""
    of_weights = [name for name, value in read_mapping(ALL_AUTO).items() if value == AUTO]
    return {
        "objective",
        "dataset.num_classes",
        *(f"model.{name}" for name in of_weights),
        *(f"dataset.{name}" for name in SHARES),
        *(f"optimizer.{name}" for name in RATES),
    }


def find_settings(values: dict[str, Any]) -> dict[str, Any]:
    """The settings with a value for each that is `auto`.

    One that cannot be found stays, for the types of the settings to refuse it. `UserError` where
    the weights or the data set cannot be read.
    """
    found = {
        name: section
        for name, section in values.items()
        if name in ("model", "dataset", "optimizer") and AUTO in dict(section).values()
    }
    if values.get("objective") == AUTO:
        is_multi_label = values["dataset"].get("multi_label") is True
        values = {**values, "objective": OBJECTIVES[is_multi_label]}
    if not found or values.get("task") not in get_args(TaskName):
        return values
    weights = _weights(values)
    if "model" in found:
        found["model"] = _filled(found["model"], _model(values, weights))
    if "optimizer" in found:
        rates = {name: pair[weights is not None] for name, pair in RATES.items()}
        found["optimizer"] = _filled(found["optimizer"], rates)
    if "dataset" in found:
        found["dataset"] = _filled(found["dataset"], _dataset(values, weights))
    return {**values, **found}


def _filled(section: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: found.get(name, value) if value == AUTO else value for name, value in section.items()
    }


def _weights(values: dict[str, Any]) -> str | None:
    """The file or run whose weights the task begins with."""
    needs_checkpoint = task_traits(values["task"]).needs_checkpoint
    place = values["checkpoint"] if needs_checkpoint else values["model"].get("pretrained")
    return place if isinstance(place, str) and place else None


def _kind(values: dict[str, Any]) -> CheckpointKind:
    kind: CheckpointKind = values["checkpoint_kind"]
    return kind if kind in get_args(CheckpointKind) else "best"


def _model(values: dict[str, Any], weights: str | None) -> dict[str, Any]:
    if weights is None:
        every = read_mapping(CONF / f"{CONFIG_NAME}.yaml")["model"]
        return {**every, **read_mapping(WITHOUT_WEIGHTS)}
    from beit_exp.weights.model_settings import model_settings  # NumPy and more: not for --help

    found = model_settings(weights, _kind(values))
    wanted = [name for name, value in values["model"].items() if value == AUTO]
    if missing := [f"model.{name}" for name in wanted if name not in found]:
        raise UserError(f"{weights} does not tell {', '.join(missing)}: say it beside model=auto")
    return found


def _dataset(values: dict[str, Any], weights: str | None) -> dict[str, Any]:
    traits = task_traits(values["task"])
    if weights is not None and traits.needs_checkpoint and not traits.reads_class_folders:
        from beit_exp.weights.model_settings import num_classes

        classes = num_classes(weights, _kind(values))
        return dict.fromkeys(SHARES, 0.0) | ({} if classes is None else {"num_classes": classes})
    placeholders: dict[str, Any] = {"num_classes": 2, **dict.fromkeys(SHARES, 0.0)}
    said = _filled(values["dataset"], placeholders)
    try:
        cfg = DatasetConfig.model_validate({k: v for k, v in said.items() if v != MISSING})
    except ValidationError:
        return placeholders  # the section is refused, for another setting
    if cfg.multi_label and cfg.labels is None:
        return placeholders  # that is refused
    if (known := dataset_traits(cfg.name)).brings_all:
        return {"num_classes": known.num_classes, **dict.fromkeys(SHARES, 0.0)}
    if is_remote(cfg.data_url) or (cfg.labels is not None and is_remote(cfg.labels)):
        raise UserError(
            "dataset.num_classes, dataset.val_fraction and dataset.test_fraction are found (auto) "
            f"on this machine alone; say them for {cfg.data_url}"
        )
    if cfg.labels is not None:
        return _in_table(cfg)
    found = _shares(cfg)
    if values["dataset"]["num_classes"] == AUTO:
        found["num_classes"] = _count_folders(cfg)
    return found


def _count_folders(cfg: DatasetConfig) -> int:
    from beit_exp.data.listing import class_folders
    from beit_exp.data.places import is_there, pool_place

    root = Path(cfg.data_url)
    if cfg.val_labels is not None and not is_there(root, "train"):
        raise UserError(
            f"dataset.num_classes = 'auto': {root} holds no train/ whose class folders could be "
            "counted; say the number"
        )
    place = pool_place(cfg, root)
    if len(found := class_folders(place)) < 2:
        named = f" ({found[0]})" if found else ""
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: {place} holds {len(found)} class folders"
            f"{named}; there must be one for each class, two at the least"
        )
    return len(found)


def _shares(cfg: DatasetConfig) -> dict[str, Any]:
    from beit_exp.data.places import is_there

    root = Path(cfg.data_url)
    has_val = cfg.val_labels is not None or is_there(root, "val")
    has_test = has_val or is_there(root, "test")
    return {
        "val_fraction": 0.0 if has_val or cfg.folds else SHARES["val_fraction"],
        "test_fraction": 0.0 if has_test or cfg.folds else SHARES["test_fraction"],
    }


def _in_table(cfg: DatasetConfig) -> dict[str, Any]:
    table = Path(str(cfg.labels))
    if not table.is_file():
        raise UserError(f"dataset.labels = {cfg.labels!r}: there is no such file")
    root, changed_ns = Path(cfg.data_url), table.stat().st_mtime_ns
    classes, is_split = _read_table(table, root, changed_ns, multi_label=cfg.multi_label)
    is_held_out = is_split or cfg.folds is not None
    return {"num_classes": classes} | (dict.fromkeys(SHARES, 0.0) if is_held_out else SHARES)


@lru_cache(maxsize=2)  # the jobs of a sweep share their table
def _read_table(
    table: Path, root: Path, _changed_ns: int, *, multi_label: bool
) -> tuple[int, bool]:
    """The number of classes, and whether the table tells the splits."""
    from beit_exp.data.label_table import read_label_table

    found = read_label_table(
        table, root, num_classes=None, needs_groups=False, multi_label=multi_label
    )
    return len(found.images.classes), found.splits is not None
