"""Classes of the images of a flat folder, from a list of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from beit_exp.data.listing import ImageList, list_images
from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading


def list_labelled(folder: Path, labels: Path, num_classes: int, classes: list[str]) -> ImageList:
    """Every image of a flat folder, sorted by path, with its class from lines `<image> <class>`.

    A class is a name or, counted from 0, a number. Without `classes` the names of the lines,
    sorted, are the classes. `UserError` if an image has no class or a line no image, or another
    number of classes is found.
    """
    with reading(labels):
        text = labels.read_text(encoding="utf-8-sig")
    lines = [line.replace(",", " ").split() for line in text.splitlines()]
    pairs = [(Path(words[0]).name, words[1]) for words in lines if len(words) >= 2]
    class_of = dict(pairs)
    if len(class_of) != len(lines):
        raise UserError(
            f"dataset.val_labels: {labels} must hold one line `<image> <class>` for each image"
        )
    paths = list_images(folder)
    names = {Path(path).name for path in paths}
    if len(names) != len(paths):
        raise UserError(
            f"dataset.val_labels: {folder} holds images of the same name in several folders"
        )
    if unnamed := sorted(names - class_of.keys()):
        raise UserError(
            f"dataset.val_labels: {labels} names no class for {unnamed[0]} "
            f"({len(unnamed)} such images)"
        )
    if absent := sorted(class_of.keys() - names):
        raise UserError(
            f"dataset.val_labels: {labels} names {absent[0]}, which is not in {folder} "
            f"({len(absent)} such images)"
        )
    found = [class_of[Path(path).name] for path in paths]
    are_numbers = all(name.isdecimal() for name in found) and not set(found) <= set(classes)
    if are_numbers:
        classes = classes or [str(number) for number in range(num_classes)]
        numbers = {str(number): number for number in range(num_classes)}
    else:
        classes = classes or sorted(set(found))
        numbers = {name: number for number, name in enumerate(classes)}
    if len(classes) != num_classes or (unknown := sorted(set(found) - numbers.keys())):
        what = (
            f"has the class {unknown[0]!r}"
            if len(classes) == num_classes
            else f"has {len(classes)} classes"
        )
        raise UserError(f"dataset.val_labels: {labels} {what}; dataset.num_classes = {num_classes}")
    return ImageList(paths, np.array([numbers[name] for name in found], np.int32), classes)
