"""What became of each image of an evaluation: as a file, and counted by class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from beit_exp.report.class_scores import class_scores
from beit_exp.storage.files import write_atomically
from beit_exp.storage.foreign import reading

OUTCOMES_FILE = "val_outcomes.npz"  # in a run directory: of the last evaluation


class Outcomes(NamedTuple):
    """What became of each image, in the order of the set; each array is (n,)."""

    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray  # of the predicted class
    label_probability: np.ndarray  # of the right one

    def save(self, path: Path) -> None:
        """A compressed .npz of the four arrays."""
        save_arrays(path, self._asdict())

    def metrics(self) -> dict[str, float]:
        """`top1` and those of `class_scores`, in percent."""
        top1 = 100 * float((self.labels == self.predicted).mean())
        return {"top1": top1} | class_scores(self.labels, self.predicted)

    def class_table(self, classes: Sequence[str]) -> list[list[Any]]:
        """See `class_table`."""
        return class_table(confusion(self, len(classes)), classes)

    def rows(self, classes: Sequence[str]) -> list[list[Any]]:
        """Of each image its class, the predicted one and the probability of that."""
        found = zip(self.labels, self.predicted, self.probability, strict=True)
        return [
            [classes[label], classes[predicted], round(float(probability), 6)]
            for label, predicted, probability in found
        ]


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A compressed .npz, there whole or not at all."""
    content = io.BytesIO()  # a full disk would meet NumPy's archive half closed
    np.savez_compressed(content, **arrays)
    write_atomically(path, content.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `save_arrays` wrote; `UserError` if it is damaged."""
    with reading(path, "is damaged"), np.load(path) as arrays:
        return dict(arrays)


def confusion(outcomes: Outcomes, num_classes: int) -> np.ndarray:
    """(K, K) numbers of images by class and predicted class."""
    matrix = np.zeros((num_classes, num_classes), int)
    np.add.at(matrix, (outcomes.labels, outcomes.predicted), 1)
    return matrix


def wrong_alone(matrix_KK: np.ndarray) -> np.ndarray:
    """A confusion matrix without the images whose class was found."""
    return matrix_KK * (1 - np.eye(len(matrix_KK), dtype=int))


def confusion_table(matrix_KK: np.ndarray, classes: Sequence[str]) -> list[list[Any]]:
    """A heading, then each class with the numbers of its images by predicted class."""
    rows = zip(classes, matrix_KK.tolist(), strict=True)
    return [["class / predicted", *classes], *([name, *row] for name, row in rows)]


def class_table(matrix_KK: np.ndarray, classes: Sequence[str]) -> list[list[Any]]:
    """A heading, then each class: its images, their top-1 accuracy in percent, its worst confusion.

    A class without images has no accuracy; one that is always found is confused with none.
    """
    wrong = wrong_alone(matrix_KK)
    rows: list[list[Any]] = [["class", "images", "top1", "most confused with"]]
    for number, name in enumerate(classes):
        count = int(matrix_KK[number].sum())
        accuracy = round(100 * matrix_KK[number, number] / count, 4) if count else ""
        other = classes[wrong[number].argmax()] if wrong[number].any() else ""
        rows.append([name, count, accuracy, other])
    return rows
