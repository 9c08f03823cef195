"""Softmax and sigmoid in float64, which no score overflows."""

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


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """(...) float64 probabilities of (...) scores, each by itself."""
    return softmax(_beside_zero(scores))[..., 0]


def binary_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(...) float64: -log of the probability that each target, 0 or 1, has by its logit."""
    pairs, is_absent = _beside_zero(logits).reshape(-1, 2), targets.ravel() == 0
    return cross_entropy(pairs, is_absent.astype(int)).reshape(targets.shape)


def _beside_zero(scores: np.ndarray) -> np.ndarray:
    """(..., 2): a sigmoid is the softmax of a score and 0."""
    return np.stack([scores, np.zeros_like(scores)], axis=-1)


def _below_largest(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    return scores - scores.max(axis=-1, keepdims=True)
