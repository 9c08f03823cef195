"""How sure an accuracy is: intervals of confidence, and paired tests of two networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from beit_exp.report.class_scores import class_scores, label_scores
from beit_exp.report.multi_label import AnyOutcomes, MultiLabelOutcomes
from beit_exp.report.outcomes import Outcomes

CONFIDENCE = 0.95
RESAMPLES = 1000
COUNTED = ("top1", "top5")  # shares of images; other metrics are of classes
Interval = tuple[float, float]


def accuracy_interval(percent: float, images: int) -> Interval:
    """Exact binomial interval (Clopper and Pearson, 1934) of a share of images, in percent.

    By quantiles of the beta law (Brown et al., 2001, section 4.2.1): scipy.stats, which has it,
    too, takes a second to import.
    """
    from scipy.special import betaincinv

    hits, tail = round(percent / 100 * images), (1 - CONFIDENCE) / 2
    misses = images - hits
    low = betaincinv(hits, misses + 1, tail) if hits else 0.0
    high = betaincinv(hits + 1, misses, 1 - tail) if misses else 1.0
    return 100 * float(low), 100 * float(high)


def intervals(metrics: dict[str, float], outcomes: AnyOutcomes) -> dict[str, Interval]:
    """Of an evaluation's metrics that are accuracies or F1, in percent.

    Those of images are exact; those of classes hold 95 % of what `RESAMPLES` draws of as many
    images, with repetitions, give (Efron's percentile bootstrap). Average precision has none.
    """
    images = len(outcomes.labels)
    found = {name: accuracy_interval(metrics[name], images) for name in COUNTED if name in metrics}
    drawn = bootstrap(outcomes)
    return found | {name: drawn[name] for name in metrics if name in drawn}


def bootstrap(outcomes: AnyOutcomes) -> dict[str, Interval]:
    """Percentile intervals of the metrics of classes: `balanced_accuracy`, `macro_f1`, ..."""
    rng, images = np.random.default_rng(0), len(outcomes.labels)
    measure = _measure(outcomes)
    draws = [measure(rng.integers(images, size=images)) for _ in range(RESAMPLES)]
    tails = 100 * np.array([1 - CONFIDENCE, 1 + CONFIDENCE]) / 2
    return {
        name: tuple(np.percentile([draw[name] for draw in draws], tails).tolist())
        for name in draws[0]
    }


def _measure(outcomes: AnyOutcomes) -> Callable[[np.ndarray], dict[str, float]]:
    """From chosen images to the metrics of classes."""
    if isinstance(outcomes, MultiLabelOutcomes):
        labels, predicted = outcomes.labels == 1, outcomes.predicted
        return lambda chosen: label_scores(labels[chosen], predicted[chosen])
    return lambda chosen: class_scores(outcomes.labels[chosen], outcomes.predicted[chosen])


class Paired(NamedTuple):
    """Two networks on the same images."""

    only_first: int  # images that it alone has right
    only_second: int
    p_value: float

    @property
    def difference(self) -> int:
        """Images by which the first has more right."""
        return self.only_first - self.only_second


def compare_paired(first: Outcomes, second: Outcomes) -> Paired | None:
    """The exact test of McNemar (1947): how likely the two would differ by so many images, or more,
    if they were equally good. None unless the images are the same, by their labels.
    """
    from scipy.special import bdtr

    if not np.array_equal(first.labels, second.labels):
        return None
    is_right = first.predicted == first.labels, second.predicted == second.labels
    only_first = int(np.count_nonzero(is_right[0] & ~is_right[1]))
    only_second = int(np.count_nonzero(is_right[1] & ~is_right[0]))
    fewer, unlike = min(only_first, only_second), only_first + only_second
    p_value = min(1.0, 2 * float(bdtr(fewer, unlike, 0.5)))  # both tails of fair tosses
    return Paired(only_first, only_second, p_value)


def as_text(interval: Sequence[float] | None) -> str:
    """Two percentages as people read them; nothing for none."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
