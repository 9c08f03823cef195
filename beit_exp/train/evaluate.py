"""Accuracy and loss over a whole set: no image dropped, none counted twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from mindspore import Tensor, nn


def predict_batches(
    network: nn.Cell, batches: Iterable[tuple[np.ndarray, np.ndarray]], *, batch_size: int
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """(n, K) logits and (n,) labels of each batch; a smaller last batch is filled up, so that nothing recompiles."""
    network.set_train(False)
    for images, labels in batches:
        missing = batch_size - len(images)
        filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing else images
        yield network(Tensor(filled)).asnumpy()[: len(images)], labels


def evaluate(
    network: nn.Cell,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int,
    gather: Callable[[np.ndarray], np.ndarray],
    check_stop: Callable[[], None],
) -> dict[str, float]:
    """`loss` (cross-entropy without smoothing), `top1` and `top5` (percent) over every image of all ranks' batches.

    `gather` brings the ranks' sums together (`Runtime.gather`); they travel as two float32 each, so none is rounded.
    """
    sums = np.zeros(4)
    for logits, labels in predict_batches(network, batches, batch_size=batch_size):
        sums += batch_sums(logits, labels)
        check_stop()
    coarse = sums.astype(np.float32)
    rows = gather(np.concatenate([coarse, (sums - coarse).astype(np.float32)])).astype(np.float64)
    count, loss, top1, top5 = (float(value) for value in (rows[:, :4] + rows[:, 4:]).sum(axis=0))
    if count == 0:
        raise ValueError("no image to evaluate")
    return {"loss": loss / count, "top1": 100 * top1 / count, "top5": 100 * top5 / count}


def batch_sums(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(4,) float64: images, summed cross-entropy, top-1 hits and top-5 hits; of equal logits the lower class wins."""
    logits = logits.astype(np.float64)
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, labels]
    own = logits[rows, labels][:, None]
    lower_class = np.arange(logits.shape[1])[None] < labels[:, None]
    rank = (logits > own).sum(axis=1) + ((logits == own) & lower_class).sum(axis=1)
    # A class whose logit is not a number is never found.
    rank = np.where(np.isfinite(logits).all(axis=1), rank, logits.shape[1])
    return np.array([len(labels), losses.sum(), (rank < 1).sum(), (rank < 5).sum()], dtype=np.float64)
