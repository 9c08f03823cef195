"""Linear probing of features: multinomial logistic regression on what a frozen network gives out.

The penalty is chosen on a part of the training images that is held out for it, as DINOv2 does
(facebookresearch/dinov2 dinov2/eval/log_regression.py), and never on those that are measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from beit_exp.probes.accuracy import accuracy
from beit_exp.probes.subsets import few_of_each_class

# N training images · M images that are measured · D width · K classes


class Labelled(NamedTuple):
    """Features with their classes."""

    features: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,) classes counted from 0

    def chosen(self, which: np.ndarray) -> Labelled:
        """Some of them: by number, or where true."""
        return Labelled(self.features[which], self.labels[which])


class LinearResult(NamedTuple):
    """What a probe found with the inverse penalty that did best on the held-out images."""

    inverse_regularisation: float
    held_out_top1: float
    measured: dict[str, float]  # top1 and top5, in percent, once all training images are learnt
    has_converged: bool


def standardised(train: Labelled, measured: Labelled) -> tuple[Labelled, Labelled]:
    """Float64 features with mean 0 and variance 1 over the training images, whatever their classes.

    So that one penalty suits every number, as by the normalisation without parameters that He et
    al. (arXiv 2111.06377, appendix A) put before a linear probe.
    """
    scaler = StandardScaler().fit(train.features.astype(np.float64))

    def scaled(images: Labelled) -> Labelled:
        return images._replace(features=scaler.transform(images.features.astype(np.float64)))

    return scaled(train), scaled(measured)


def fit_linear(
    train: Labelled, *, inverse_regularisation: float, max_iterations: int
) -> LogisticRegression:
    """The minimum of C Σ cross-entropy + ½‖weights‖², C being the inverse of the regularisation."""
    model = LogisticRegression(C=inverse_regularisation, max_iter=max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `has_converged` tells it
        return model.fit(train.features, train.labels)


def linear_scores(
    model: LogisticRegression, features_MD: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """(M, K) logits; -inf of classes that the model has not seen."""
    found = model.decision_function(features_MD)
    if found.ndim == 1:  # of two classes scikit-learn tells the second's alone
        found = np.stack([-found, found], axis=1)
    scores_MK = np.full((len(features_MD), num_classes), -np.inf)
    scores_MK[:, model.classes_] = found
    return scores_MK


def measure_linear(
    model: LogisticRegression, measured: Labelled, *, num_classes: int
) -> dict[str, float]:
    """`top1` and `top5` of a model, in percent."""
    scores_MK = linear_scores(model, measured.features, num_classes=num_classes)
    return accuracy(scores_MK, measured.labels)


def probe_linear(
    train: Labelled,
    measured: Labelled,
    *,
    held_out_N: np.ndarray,
    grid: Sequence[float],
    max_iterations: int,
    num_classes: int,
) -> LinearResult:
    """Choose among a `grid` of inverse regularisations, then learn from all training images.

    Each is learnt from the images that are not held out, and the one with the best top-1 accuracy
    of the held-out ones is taken; of equals the strongest penalty.
    """
    rest, held_out = train.chosen(~held_out_N), train.chosen(held_out_N)
    found: dict[float, float] = {}
    for value in sorted(grid):
        model = fit_linear(rest, inverse_regularisation=value, max_iterations=max_iterations)
        found[value] = measure_linear(model, held_out, num_classes=num_classes)["top1"]
    best = max(found, key=lambda value: found[value])
    model = fit_linear(train, inverse_regularisation=best, max_iterations=max_iterations)
    return LinearResult(
        best,
        found[best],
        measure_linear(model, measured, num_classes=num_classes),
        has_converged=int(model.n_iter_.max()) < max_iterations,
    )


def fit_few_shot(
    train: Labelled,
    *,
    count: int,
    draws: int,
    seed: int,
    inverse_regularisation: float,
    max_iterations: int,
) -> list[LogisticRegression]:
    """A model for each of several draws of `count` training images a class."""
    chosen = (few_of_each_class(train.labels, count, draw=draw, seed=seed) for draw in range(draws))
    return [
        fit_linear(
            train.chosen(few),
            inverse_regularisation=inverse_regularisation,
            max_iterations=max_iterations,
        )
        for few in chosen
    ]
