"""Whether a network is right as often as its probabilities say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from beit_exp.report.outcomes import Outcomes
from beit_exp.report.plots import new_figure, save_figure

BINS = 15


def calibration_error(outcomes: Outcomes) -> float:
    """Expected calibration error in percent: mean distance of accuracy and probability in bins of
    the predicted class's probability, weighted by their images.

    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599), equation 3.
    """
    counts, right, probability = bin_sums(outcomes)
    return 100 * float(np.abs(right - probability).sum() / counts.sum())


def bin_sums(outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(BINS,) images, images that are right, sums of probabilities; a bin has its upper edge."""
    place = np.ceil(outcomes.probability.astype(np.float64) * BINS).astype(int) - 1
    place = np.clip(place, 0, BINS - 1)
    is_right = (outcomes.predicted == outcomes.labels).astype(float)
    return (
        np.bincount(place, minlength=BINS),
        np.bincount(place, is_right, BINS),
        np.bincount(place, outcomes.probability.astype(np.float64), BINS),
    )


def plot_reliability(outcomes: Outcomes, path: Path) -> None:
    """Accuracy over probability, and how many images have each."""
    counts, right, probability = bin_sums(outcomes)
    has = counts > 0
    middles = (np.arange(BINS) + 0.5) / BINS
    figure, (upper, lower) = new_figure(rows=2, height=6.4)
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="dotted", label="as often as it says")
    upper.plot(
        *(sums[has] / counts[has] for sums in (probability, right)), marker="o", label="measured"
    )
    title = f"calibration error {calibration_error(outcomes):.2f} %"
    upper.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02), title=title)
    upper.legend(fontsize="small")
    lower.bar(middles, counts, width=0.9 / BINS)
    lower.set(xlabel="probability of the predicted class", ylabel="images", xlim=(0, 1))
    save_figure(figure, path)
