"""Test sets of other images in a network's classes, such as ImageNet-V2, -A, -R and -Sketch, and
other answers to the images of `val`: ImageNet-ReaL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beit_exp.data.archives import ENDING
from beit_exp.data.listing import ImageList, list_classes
from beit_exp.errors import UserError
from beit_exp.report.outcomes import Outcomes
from beit_exp.storage.foreign import reading
from beit_exp.storage.remote import local_copy

REAL_NUMBER = re.compile(r"_val_(\d{8})\.")  # of ImageNet's validation images, from 1 on


class OtherSet(NamedTuple):
    """Images in some of a network's classes; their labels count among the `chosen`."""

    images: ImageList
    chosen: np.ndarray  # (len(images.classes),) numbers of the network's classes


def open_other_set(name: str, place: str, classes: Sequence[str]) -> OtherSet:
    """The images below `place/<class>/`, the folders being names of `classes` or all numbers of
    some; `UserError` if one is neither.
    """
    root = Path(local_copy(place))
    if not (root.is_dir() or (root.is_file() and root.suffix == ENDING)):
        raise UserError(f"evaluation.sets.{name} = {place!r}: there is no such folder or tar")
    images = list_classes(root)
    if len(images) == 0:
        raise UserError(f"evaluation.sets.{name} = {place!r}: holds no class folder")
    number_of = {each: number for number, each in enumerate(classes)}
    are_numbers = all(each.isdecimal() for each in images.classes)
    if are_numbers and not set(images.classes) <= number_of.keys():  # as ImageNet-V2 has them
        number_of = {str(number): number for number in range(len(classes))}
    if unknown := [each for each in images.classes if each not in number_of]:
        raise UserError(
            f"evaluation.sets.{name} = {place!r}: the folder {unknown[0]} is neither a class of "
            f"the network nor the number of one, from 0 to {len(classes) - 1} "
            f"({len(unknown)} such folders)"
        )
    chosen = np.array([number_of[each] for each in images.classes])
    names = [classes[number] for number in chosen]
    return OtherSet(ImageList(images.paths, images.labels, names), chosen)


def read_real_labels(path: Path, images: ImageList) -> list[frozenset[int]]:
    """For each image of ImageNet's `val` the classes that are right, perhaps none.

    The file is ReaL's real.json: a list of lists of class numbers, in the order of the images'
    numbers. Source: Beyer et al., Are we done with ImageNet? (arXiv 2006.07159). `UserError` if it
    is another, an image has no place in it, or none of the images has a right class.
    """
    with reading(path, "is damaged"):
        answers = json.loads(path.read_bytes())
    count = len(images.classes)
    if not isinstance(answers, list) or not all(_are_classes(each, count) for each in answers):
        raise UserError(
            f"evaluation.real_labels: {path} must be a list of lists of class numbers, from 0 to "
            f"{count - 1}"
        )
    found = []
    for image in images.paths:
        number = REAL_NUMBER.search(Path(image).name)
        if number is None or not 1 <= int(number[1]) <= len(answers):
            raise UserError(
                f"evaluation.real_labels: {path} has {len(answers)} images, and {image} is none of "
                "them by its name: ILSVRC2012_val_00000001.JPEG is the first"
            )
        found.append(frozenset(answers[int(number[1]) - 1]))
    if not any(found):
        raise UserError(
            f"evaluation.real_labels: {path} has no class for any of the {len(images)} images"
        )
    return found


def real_hits(outcomes: Outcomes, answers: Sequence[frozenset[int]]) -> tuple[int, int]:
    """Images whose predicted class is right, and images that have a right class at all."""
    asked = [
        int(predicted) in right
        for predicted, right in zip(outcomes.predicted, answers, strict=True)
        if right
    ]
    return sum(asked), len(asked)


def _are_classes(answer: object, count: int) -> bool:
    return isinstance(answer, list) and all(
        type(number) is int and 0 <= number < count for number in answer
    )
