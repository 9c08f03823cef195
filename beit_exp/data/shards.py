"""Shards: many tars that hold the images of one split together.

They lie alone in a folder, or beside each other under one name and numbers, as webdataset's own
tools write them: `imagenet-train-000000.tar`. An image's class is in `KEY.cls` beside `KEY.jpg`, or
the folder that it lies in.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from beit_exp.data import archives
from beit_exp.data.archives import ENDING, Index
from beit_exp.data.image_names import check_names, is_image
from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading

NUMBERED = "*"  # stands for a shard's number in the name of a place
CALLED = {"train": "train", "val": "val|valid|validation", "test": "test"}
LABEL = ".cls"
MOST_LABEL_BYTES = 1000
NUMBER = re.compile(r"-?[0-9]+")
INDEX_THREADS = 8


class Labelled(NamedTuple):
    """The images of shards in the order in which they lie there."""

    paths: list[str]
    labels: np.ndarray  # (len(paths),) int32
    classes: list[str]


def find_shards(root: Path, split: str) -> Path | None:
    """The place of a split's shards that lie in a folder itself: their name with a `*` for the
    number. None without such; `UserError` for those of several sets.
    """
    if not root.is_dir():
        return None
    pattern = re.compile(rf"((?:.*[-_.])?(?:{CALLED[split]})[-_.]?)[0-9]+{re.escape(ENDING)}")
    shown = (name for name in os.listdir(root) if not name.startswith("."))  # as macOS leaves
    found = {match[1] for name in shown if (match := pattern.fullmatch(name))}
    if len(found) > 1:
        first, second, *_ = sorted(found)
        raise UserError(
            f"{root} holds shards of two sets for {split}: {first}{NUMBERED}{ENDING} and "
            f"{second}{NUMBERED}{ENDING}; remove one"
        )
    return root / f"{found.pop()}{NUMBERED}{ENDING}" if found else None


def shards_of(place: Path) -> list[Path]:
    """The shards of a place, sorted by name; none if it is a tar, or holds folders or images."""
    if place.is_dir():
        with os.scandir(place) as entries:
            shown = (entry for entry in entries if not entry.name.startswith("."))
            names = []
            for entry in shown:
                if entry.is_dir() or is_image(entry.name):
                    return []
                names += [entry.name] if entry.name.endswith(ENDING) else []
    elif NUMBERED in place.name and not place.exists() and place.parent.is_dir():
        before, _, after = place.name.partition(NUMBERED)
        middle = re.compile(f"{re.escape(before)}[0-9]+{re.escape(after)}")
        names = [name for name in os.listdir(place.parent) if middle.fullmatch(name)]
        place = place.parent
    else:
        return []
    found = sorted(str(place / name) for name in names)
    check_names(found)
    return [Path(path) for path in found]


def classes_in(shards: list[Path]) -> list[str]:
    """The names of the classes: of label files that are numbers in their order, else sorted."""
    texts = _label_texts(tuple(map(str, shards)))
    if texts is None:
        return sorted({name for shard in shards for name in archives.folders_in(shard)})
    return _class_names(text for each in texts for text in each.values())


def has_label_files(shards: list[Path]) -> bool:
    """Whether the classes of images are in files beside them, not in names of folders."""
    return _label_texts(tuple(map(str, shards))) is not None


def images_in(shards: list[Path]) -> list[str]:
    """Every image, with a label or without, in the order in which they lie there."""
    return [
        f"{shard}/{name}"
        for shard, index in zip(shards, _indexes(tuple(map(str, shards))), strict=True)
        for name in _images_as_they_lie(index)
    ]


def labelled_in(shards: list[Path]) -> Labelled:
    """Every image with its class; `UserError` if one has none, or is there twice."""
    names = tuple(map(str, shards))
    texts, classes = _label_texts(names), classes_in(shards)
    found = _of_folders(names) if texts is None else _of_label_files(names, texts)
    numbers = {name: number for number, name in enumerate(classes)}
    pairs = [(path, numbers[name]) for path, name in found]
    labels = np.array([number for _, number in pairs], np.int32)
    if len(without := np.setdiff1d(np.arange(len(classes)), labels)):
        raise UserError(f"the shards {shards[0]}, ... hold no image of {classes[without[0]]}")
    return Labelled([path for path, _ in pairs], labels, classes)


def other_files_in(shards: list[Path]) -> list[str]:
    """Files that are neither images nor belong to one by their key, but for hidden ones."""
    found = []
    for shard, index in zip(shards, _indexes(tuple(map(str, shards))), strict=True):
        keys = {_key(name) for name in index.names if is_image(os.path.basename(name))}
        names = (name for name in index.names if not os.path.basename(name).startswith("."))
        found += [f"{shard}/{name}" for name in names if _key(name) not in keys]
    return found


def in_order_of_names(paths: list[str]) -> np.ndarray:
    """Numbers of the images as they would be sorted in one folder, whatever shard holds them."""
    names = [archives.name_in(path) for path in paths]
    return np.array(sorted(range(len(paths)), key=lambda number: (names[number], paths[number])))


def _of_folders(shards: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Paths and classes of images in class folders."""
    shard_of: dict[str, str] = {}
    for shard, index in zip(shards, _indexes(shards), strict=True):
        for name in _images_as_they_lie(index):
            if name.startswith("."):
                continue
            folder, slash, _ = name.partition("/")
            if not slash:
                raise UserError(
                    f"{shard}/{name} is an image without a label: it lies in no class folder, and "
                    f"there is no {PurePosixPath(name).stem}{LABEL} beside it"
                )
            if name in shard_of:
                raise UserError(f"{name} is there twice: in {shard_of[name]} and in {shard}")
            shard_of[name] = shard
            yield f"{shard}/{name}", folder


def _of_label_files(
    shards: tuple[str, ...], texts: tuple[dict[str, str], ...]
) -> Iterator[tuple[str, str]]:
    """Paths and classes of images with label files."""
    for shard, index, text_of in zip(shards, _indexes(shards), texts, strict=True):
        image_of: dict[str, str] = {}
        for name in _images_as_they_lie(index):
            stem = os.path.splitext(name)[0]
            if stem not in text_of:
                if _key(name) in text_of:  # another field of it: KEY.mask.png
                    continue
                raise UserError(
                    f"{shard}/{name} is an image without a label: there is no "
                    f"{os.path.basename(stem)}{LABEL} beside it"
                )
            if stem in image_of:
                raise UserError(f"{shard}: {image_of[stem]} and {name} are images of one label")
            image_of[stem] = name
            yield f"{shard}/{name}", _class_name(text_of[stem])
        if alone := sorted(text_of.keys() - image_of.keys()):
            raise UserError(
                f"{shard}/{alone[0]}{LABEL} is a label without an image ({len(alone)} such labels)"
            )


@cache
def _label_texts(shards: tuple[str, ...]) -> tuple[dict[str, str], ...] | None:
    """What the label files of each shard say, by their names without the ending; None if there is
    not one in all of them.
    """
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        texts = tuple(pool.map(_read_labels, shards, _indexes(shards)))
    return texts if any(texts) else None


def _read_labels(shard: str, index: Index) -> dict[str, str]:
    found = {}
    for name in _as_they_lie(index):
        if not name.endswith(LABEL) or os.path.basename(name).startswith("."):
            continue
        path = f"{shard}/{name}"
        with reading(path):
            if index.place(name)[1] > MOST_LABEL_BYTES:
                raise ValueError(f"a class's number or name has at most {MOST_LABEL_BYTES} bytes")
            text = archives.read(path).decode().strip()
            if len(text.splitlines()) != 1 or not text.isprintable():
                raise ValueError("it must hold the number or the name of one class")
        found[name.removesuffix(LABEL)] = sys.intern(text)  # many images are of one class
    return found


def _class_names(texts: Iterable[str]) -> list[str]:
    """Of numbers those from 0 on, of names the sorted ones."""
    names = {_class_name(text) for text in texts}
    numbers = {name for name in names if NUMBER.fullmatch(name)}
    if not numbers:
        return sorted(names)
    if others := sorted(names - numbers):
        raise UserError(
            f"some {LABEL} files name classes by numbers ({min(numbers)}), others by names "
            f"({others[0]})"
        )
    wanted = {str(number) for number in range(len(numbers))}
    if missing := sorted(wanted - numbers, key=int):
        wrong = sorted(numbers - wanted, key=int)
        raise UserError(
            f"the numbers of the classes in {LABEL} files must run from 0 on without a gap: "
            f"there is {wrong[0]}, but no {missing[0]}"
        )
    return sorted(numbers, key=int)


def _class_name(text: str) -> str:
    return str(int(text)) if NUMBER.fullmatch(text) else text


@cache
def _indexes(shards: tuple[str, ...]) -> list[Index]:
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        return list(pool.map(archives.index, shards))


def _as_they_lie(index: Index) -> Iterator[str]:
    return (index.names[number] for number in np.argsort(index.offsets, kind="stable"))


def _images_as_they_lie(index: Index) -> Iterator[str]:
    return (name for name in _as_they_lie(index) if is_image(os.path.basename(name)))


def _key(name: str) -> str:
    """What the files of one sample share: all before the first dot of the file's name."""
    folder, name = os.path.split(name)
    return os.path.join(folder, name.partition(".")[0])
