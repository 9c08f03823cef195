"""What became of each image of an evaluation, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from beit_exp.storage.files import replacing

OUTCOMES_FILE = "val_outcomes.npz"  # in a run directory: of the last evaluation


class Outcomes(NamedTuple):
    """What became of each image, in the order of the set; each array is (n,)."""

    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray  # of the predicted class
    label_probability: np.ndarray  # of the right one

    def save(self, path: Path) -> None:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        with np.load(path) as arrays:
            return cls(**arrays)
