from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Digits(NamedTuple):
    """Pixels as features, and what they show."""

    known: np.ndarray  # (1347, 64) float32
    labels: np.ndarray
    queries: np.ndarray  # (450, 64) float32
    answers: np.ndarray


@pytest.fixture(scope="session")
def pixels() -> Digits:
    features, labels = load_digits(return_X_y=True)
    known, queries, own, answers = train_test_split(
        features.astype(np.float32), labels, random_state=0
    )
    return Digits(known, own, queries, answers)
