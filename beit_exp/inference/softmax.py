"""Softmax in float64, which no score overflows."""

from __future__ import annotations

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    """(..., K) float64 probabilities of (..., K) scores, which sum to 1 along the last axis."""
    exponents = np.exp(_below_largest(scores))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def cross_entropy(logits_BK: np.ndarray, labels_B: np.ndarray) -> np.ndarray:
    """(B,) float64: -log of each label's probability, finite however small that is."""
    below_BK = _below_largest(logits_BK)
    return np.log(np.exp(below_BK).sum(axis=-1)) - below_BK[np.arange(len(labels_B)), labels_B]


def _below_largest(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    return scores - scores.max(axis=-1, keepdims=True)
