"""Where the splits of a data set lie, as folders, tars or shards, and whether they hold the same
classes.
"""

from __future__ import annotations

from pathlib import Path

from typing_extensions import assert_never

from beit_exp.config.command_line import launch_command
from beit_exp.config.schema import DatasetConfig
from beit_exp.data.archives import ENDING
from beit_exp.data.listing import class_folders
from beit_exp.data.shards import find_shards, shards_of
from beit_exp.data.splits import SPLITS
from beit_exp.errors import UserError
from beit_exp.storage.remote import is_remote

WAY_OUT = {
    "train": "Class folders directly in data_url are split by dataset.val_fraction=0.2. ",
    "val": "To validate on a part of train/, say dataset.val_fraction=0.2. ",
    "test": "",
}
SAME = "It must hold the same as train/"
COUNT = {"train": "dataset.num_classes=auto counts them", "val": SAME, "test": SAME}


def check_folders(cfg: DatasetConfig) -> None:
    """Raise `UserError` for a data folder that cannot be right, without listing it all."""
    if cfg.labels is not None and not is_remote(cfg.labels) and not Path(cfg.labels).is_file():
        what = "that is a folder" if Path(cfg.labels).is_dir() else "there is no such file"
        raise UserError(f"dataset.labels = {cfg.labels!r}: {what}")
    if is_remote(cfg.data_url) or cfg.labels is not None:
        return
    match cfg.name:
        case "digits":
            pass  # the run writes them
        case "imagenet" | "image_folder":
            root = Path(cfg.data_url)
            # Tars are read by the run itself
            places = _places(cfg, root).values()
            if not any(place.is_file() or shards_of(place) for place in places):
                check_classes(cfg, root)
        case _:
            assert_never(cfg.name)


def is_there(root: Path, split: str) -> bool:
    """Whether a data set brings a split itself."""
    return bool(_candidates(root, split))


def brings_test(cfg: DatasetConfig, root: Path) -> bool:
    """Whether there is a test set of the data set's own.

    A `test` without class folders, as ImageNet has, is none: nobody knows its classes.
    """
    has_place = cfg.test_fraction == 0 and is_there(root, "test")
    return has_place and bool(class_folders(place_of(cfg, root, "test")))


def place_of(cfg: DatasetConfig, root: Path, split: str) -> Path:
    """The folder of a split, its tar, or the name of its shards; `UserError` unless there is just
    one of these.
    """
    found = _candidates(root, split)
    if len(found) > 1:
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: "
            f"both {found[0]} and {found[1]} are there; remove one"
        )
    if not found:
        missing = root / split if root.is_dir() else root
        raise UserError(
            f"dataset.data_url = {cfg.data_url!r}: the folder {missing} is missing. "
            "It must hold train/<class>/* and val/<class>/* with one folder per class, "
            f"or the same as tars, or as shards. {WAY_OUT[split]}To try the project without it, "
            f"run the quickstart: {launch_command()}"
        )
    return found[0]


def _candidates(root: Path, split: str) -> list[Path]:
    """Where a split lies: at most one of them should be there."""
    folder, archive, shards = root / split, root / f"{split}{ENDING}", find_shards(root, split)
    found = [folder] if folder.is_dir() else []
    found += [archive] if archive.is_file() else []
    return found if shards is None else [*found, shards]


def pool_place(cfg: DatasetConfig, root: Path) -> Path:
    """Where the images lie that the settings split: `train`, or the data set's folder itself."""
    is_flat = root.is_dir() and not any(is_there(root, split) for split in SPLITS)
    return root if is_flat else place_of(cfg, root, "train")


def places_read(cfg: DatasetConfig, root: Path) -> list[Path]:
    """The folders or tars whose images make the splits; none for a table, which names its own."""
    if cfg.labels is not None:
        return []
    found = _places(cfg, root)
    train = {} if "train" in found else {"train": place_of(cfg, root, "train")}
    return list((train | found).values())


def check_classes(cfg: DatasetConfig, root: Path) -> None:
    """Raise `UserError` unless all splits hold the classes that the settings count."""
    places = _places(cfg, root)
    if cfg.val_labels is not None:
        places.pop("val")
    names = {split: class_folders(place) for split, place in places.items()}
    for split, found in names.items():
        if len(found) != cfg.num_classes:
            raise UserError(
                f"dataset.num_classes = {cfg.num_classes}: "
                f"{places[split]} holds {len(found)} {_kind_of_class(places[split])}. "
                f"{COUNT[split]}"
            )
        if unlike := set(names["train"]) ^ set(found):
            raise UserError(
                f"dataset.data_url = {cfg.data_url!r}: train/ and {split}/ must hold the same "
                f"classes; only one of them has {', '.join(sorted(unlike)[:5])}"
            )
        if names["train"] != found:
            raise UserError(
                f"dataset.data_url = {cfg.data_url!r}: train/ and {split}/ must name the classes "
                "both by numbers in .cls files, or both by folders, which are sorted as text"
            )


def _kind_of_class(place: Path) -> str:
    return "classes" if shards_of(place) else "class folders"


def class_names(cfg: DatasetConfig, root: Path) -> list[str]:
    """The class folders of `train`; none where there is no such split."""
    return class_folders(place_of(cfg, root, "train")) if is_there(root, "train") else []


def _places(cfg: DatasetConfig, root: Path) -> dict[str, Path]:
    """The place of each split that the data set must bring, or brings; `UserError` if one lacks,
    or is to be made and there.
    """
    asked = {
        "val": ("val_fraction", cfg.val_fraction, "0"),
        "test": ("test_fraction", cfg.test_fraction, "0"),
    }
    if cfg.folds is not None:
        asked["val"] = ("folds", cfg.folds, "null")
    made = [split for split, (_, value, _) in asked.items() if value]
    for split in made:
        name, value, off = asked[split]
        if is_there(root, split):
            raise UserError(
                f"dataset.{name} = {value:g}: {place_of(cfg, root, split)} is there, too. "
                f"Say dataset.{name}={off} to use it, or remove it"
            )
    has_test = brings_test(cfg, root)
    places = {}
    if cfg.val_labels is None or has_test:
        places["train"] = pool_place(cfg, root) if made else place_of(cfg, root, "train")
    if "val" not in made:
        places["val"] = place_of(cfg, root, "val")
    if has_test:
        places["test"] = place_of(cfg, root, "test")
    return places
