"""The likeliest classes of images, from logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from beit_exp.config.answers import TOP
from beit_exp.data.labels import label_text
from beit_exp.inference.softmax import sigmoid, softmax
from beit_exp.report.multi_label import THRESHOLD


class Ranking(NamedTuple):
    """The likeliest classes of an image, and their probabilities, from the first on."""

    classes: list[str]
    probabilities: list[float]


def answer_rows(logits_BK: np.ndarray, classes: list[str], *, multi_label: bool) -> list[list[Any]]:
    """A row for each image, under the headings of `columns`."""
    rankings = rank_classes(logits_BK, classes, multi_label=multi_label)
    rows = [[*ranking.classes, *ranking.probabilities] for ranking in rankings]
    if not multi_label:
        return rows
    texts = [label_text(found, classes) for found in sigmoid(logits_BK) >= THRESHOLD]
    return [[text, *row] for text, row in zip(texts, rows, strict=True)]


def rank_classes(logits_BK: np.ndarray, classes: list[str], *, multi_label: bool) -> list[Ranking]:
    """Of each image the five likeliest of K classes; of equal ones the first comes first.

    Probabilities are of one class an image, or with `multi_label` of each class by itself.
    """
    rankings = []
    for row in (sigmoid if multi_label else softmax)(logits_BK):
        best = np.argsort(-row, kind="stable")[:TOP]
        rankings.append(
            Ranking([classes[index] for index in best], [float(row[index]) for index in best])
        )
    return rankings
