"""The likeliest classes of images, from logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from beit_exp.config.answers import TOP
from beit_exp.inference.softmax import softmax


class Ranking(NamedTuple):
    """The likeliest classes of an image, and their probabilities, from the first on."""

    classes: list[str]
    probabilities: list[float]


def rank_classes(logits_BK: np.ndarray, classes: list[str]) -> list[Ranking]:
    """Of each image the five likeliest of K classes; of equal ones the first comes first."""
    rankings = []
    for row in softmax(logits_BK):
        best = np.argsort(-row, kind="stable")[:TOP]
        rankings.append(
            Ranking([classes[index] for index in best], [float(row[index]) for index in best])
        )
    return rankings
