"""What an accuracy hides where classes are uneven, or an image has several: scores of classes."""

from __future__ import annotations

import numpy as np


def class_scores(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """`balanced_accuracy` and `macro_f1`, in percent, of (n,) labels and predicted classes.

    The first is the mean over classes of the share of their images that was found, as in
    scikit-learn's `balanced_accuracy_score`; the second the mean of F1 = 2 hits / (images +
    predictions), as in its `f1_score(average="macro")`. Classes that neither occur nor are
    predicted are left out.
    """
    length = 1 + int(max(labels.max(), predicted.max()))
    hits = np.bincount(labels[labels == predicted], minlength=length)
    images = np.bincount(labels, minlength=length)
    named = images + np.bincount(predicted, minlength=length)
    recall = hits[images > 0] / images[images > 0]
    f1 = 2 * hits[named > 0] / named[named > 0]
    return {"balanced_accuracy": 100 * float(recall.mean()), "macro_f1": 100 * float(f1.mean())}


def label_scores(has: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """`macro_f1` and `micro_f1`, in percent, of (n, K) labels that images have and predicted ones.

    The first is the mean over classes, but for those that are neither had nor predicted; the second
    is of all classes' hits together.
    """
    hits = np.count_nonzero(has & predicted, axis=0)
    named = np.count_nonzero(has, axis=0) + np.count_nonzero(predicted, axis=0)
    f1 = 2 * hits[named > 0] / named[named > 0]
    return {
        "macro_f1": 100 * float(f1.mean()) if len(f1) else 0.0,
        "micro_f1": 100 * float(2 * hits.sum() / max(1, named.sum())),
    }
