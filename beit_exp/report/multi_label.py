"""What an evaluation of images with several labels each found, and what was kept of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from beit_exp.data.labels import SEPARATOR, label_text
from beit_exp.report.class_scores import label_scores
from beit_exp.report.outcomes import Outcomes, load_arrays, save_arrays

THRESHOLD = 0.5  # a class at least as probable is predicted


class MultiLabelOutcomes(NamedTuple):
    """What became of each image, in the order of the set; each array is (n, K)."""

    labels: np.ndarray  # 1 for each class that an image has
    probabilities: np.ndarray

    def save(self, path: Path) -> None:
        """A compressed .npz of the two arrays."""
        save_arrays(path, self._asdict())

    @property
    def predicted(self) -> np.ndarray:
        return self.probabilities >= THRESHOLD

    def metrics(self) -> dict[str, float]:
        """`map`, the mean over classes of their average precision in percent, as scikit-learn's
        `average_precision_score` has it, and those of `label_scores`.

        Classes of no image are left out of it; with none left it is not a number.
        """
        precisions = self.average_precisions()
        found = precisions[~np.isnan(precisions)]
        mean = 100 * float(found.mean()) if len(found) else np.nan
        return {"map": mean} | label_scores(self.labels == 1, self.predicted)

    def average_precisions(self) -> np.ndarray:
        """(K,) average precision of each class; NaN for one that no image has."""
        from sklearn.metrics import average_precision_score  # a second to import

        return np.array(
            [
                average_precision_score(labels, scores) if labels.any() else np.nan
                for labels, scores in zip(self.labels.T, self.probabilities.T, strict=True)
            ]
        )

    def class_table(self, classes: Sequence[str]) -> list[list[Any]]:
        """A heading, then each class: its images, F1 and average precision in percent."""
        hits = np.count_nonzero(self.predicted & (self.labels == 1), axis=0)
        named = self.labels.sum(axis=0, dtype=int) + self.predicted.sum(axis=0)
        rows: list[list[Any]] = [["class", "images", "f1", "average precision"]]
        for number, (name, precision) in enumerate(
            zip(classes, self.average_precisions(), strict=True)
        ):
            count = int(self.labels[:, number].sum())
            f1 = round(200 * hits[number] / named[number], 4) if named[number] else ""
            rows.append([name, count, f1, round(100 * precision, 4) if count else ""])
        return rows

    def rows(self, classes: Sequence[str]) -> list[list[Any]]:
        """Of each image its labels, the predicted ones and the probability of each of those."""
        return [
            [
                label_text(labels, classes),
                label_text(predicted, classes),
                SEPARATOR.join(f"{share:.6f}" for share in shares[predicted]),
            ]
            for labels, predicted, shares in zip(
                self.labels, self.predicted, self.probabilities, strict=True
            )
        ]


AnyOutcomes = Outcomes | MultiLabelOutcomes


def load_outcomes(path: Path) -> AnyOutcomes:
    """What `save` wrote; `UserError` if it is damaged."""
    arrays = load_arrays(path)
    return (MultiLabelOutcomes if "probabilities" in arrays else Outcomes)(**arrays)


def join_outcomes(parts: Sequence[AnyOutcomes]) -> AnyOutcomes:
    """The outcomes of several sets of images as those of one."""
    return type(parts[0])(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
