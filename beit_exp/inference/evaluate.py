"""Accuracy and loss over a whole set: no image dropped, none counted twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from mindspore import Tensor, nn

from beit_exp.inference.softmax import binary_cross_entropy, cross_entropy, sigmoid, softmax
from beit_exp.model.operations.choice import kept_weights
from beit_exp.probes.accuracy import is_found
from beit_exp.report.class_scores import class_scores
from beit_exp.report.multi_label import MultiLabelOutcomes
from beit_exp.report.outcomes import Outcomes


def predict_batches(
    network: nn.Cell,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int,
    flip: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(n, K) float32 logits and (n,) labels of each batch of n normalised images (n, 3, S, S).

    A smaller last batch is filled up to `batch_size`, so that nothing recompiles. With `flip` the
    logits are the mean of those of an image and of its mirror image.
    """
    network.set_train(False)
    for images, labels in batches:
        filled = fill_up(images, batch_size)
        logits = network(Tensor(filled)).asnumpy()
        if flip:
            mirrored = np.ascontiguousarray(filled[..., ::-1])
            logits = (logits + network(Tensor(mirrored)).asnumpy()) / 2
        yield logits[: len(images)], labels


def predict_all(
    network: nn.Cell,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int,
    flip: bool = False,
) -> np.ndarray:
    """(N, K) float32 logits of the images of all batches, in their order."""
    found = predict_batches(network, batches, batch_size=batch_size, flip=flip)
    return np.concatenate([logits for logits, _ in found])


def evaluate(
    network: nn.Cell,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int,
    gather: Callable[[np.ndarray], np.ndarray],
    check_stop: Callable[[], None],
    flip: bool = False,
    chosen: np.ndarray | None = None,
) -> tuple[dict[str, float], Outcomes]:
    """Metrics and outcomes over every image of all ranks' batches.

    Metrics are `loss` (cross-entropy without smoothing), `top1`, `top5` and those of `class_scores`
    (percent). `gather` brings the ranks' rows together (`Runtime.gather`), rank r's being every
    size-th image from r on. Of `chosen` classes, among which the labels count, the others are not
    looked at: not for the softmax, either. `ValueError` if there is no image.
    """
    sums, rows = np.zeros(4), []
    with kept_weights():
        for logits, labels in predict_batches(network, batches, batch_size=batch_size, flip=flip):
            logits = logits if chosen is None else logits[:, chosen]
            sums += batch_sums(logits, labels)
            rows.append(image_rows(logits, labels))
            check_stop()
    totals = gather_exactly(sums, gather)
    count, loss, top1, top5 = (float(value) for value in totals.sum(axis=0))
    if count == 0:
        raise ValueError("no image to evaluate")
    metrics = {"loss": loss / count, "top1": 100 * top1 / count, "top5": 100 * top5 / count}
    found = gather_rows(rows, totals[:, 0], gather, width=4)
    labels, predicted = found[:, :2].astype(np.int32).T
    metrics |= class_scores(labels, predicted)
    return metrics, Outcomes(labels, predicted, found[:, 2], found[:, 3])


def evaluate_multi_label(
    network: nn.Cell,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int,
    num_classes: int,
    gather: Callable[[np.ndarray], np.ndarray],
    check_stop: Callable[[], None],
    flip: bool = False,
) -> tuple[dict[str, float], MultiLabelOutcomes]:
    """The same of images with (n, K) labels: `loss` (binary cross-entropy without smoothing, the
    mean over images and classes) and what `MultiLabelOutcomes` measures.

    A class whose logit is not a number is never found.
    """
    sums, rows = np.zeros(2), []
    with kept_weights():
        for logits, labels in predict_batches(network, batches, batch_size=batch_size, flip=flip):
            sums += len(labels), binary_cross_entropy(logits, labels).sum()
            rows.append(np.concatenate([labels, sigmoid(logits)], axis=1).astype(np.float32))
            check_stop()
    totals = gather_exactly(sums, gather)
    count, loss = (float(value) for value in totals.sum(axis=0))
    if count == 0:
        raise ValueError("no image to evaluate")
    found = gather_rows(rows, totals[:, 0], gather, width=2 * num_classes)
    labels, probabilities = np.split(found, 2, axis=1)
    outcomes = MultiLabelOutcomes(labels.astype(np.uint8), np.nan_to_num(probabilities, nan=0.0))
    return {"loss": loss / (count * num_classes), **outcomes.metrics()}, outcomes


def gather_rows(
    rows: list[np.ndarray],
    counts: np.ndarray,
    gather: Callable[[np.ndarray], np.ndarray],
    *,
    width: int,
) -> np.ndarray:
    """(N, width) float32 rows of all images in the order of the set, of each rank's batches;
    `counts` are the images of each rank.
    """
    longest = int(counts.max())
    missing = np.zeros((longest - sum(map(len, rows)), width), np.float32)
    of_ranks = gather(np.concatenate([*rows, missing]).ravel()).reshape(-1, longest, width)
    return of_ranks.swapaxes(0, 1).reshape(-1, width)[: int(counts.sum())]


def gather_exactly(sums: np.ndarray, gather: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(ranks, n) float64 of each rank's (n,) sums, each as two float32 so that none is rounded."""
    coarse = sums.astype(np.float32)
    halves = gather(np.concatenate([coarse, (sums - coarse).astype(np.float32)])).astype(np.float64)
    return halves[:, : len(sums)] + halves[:, len(sums) :]


def fill_up(array: np.ndarray, length: int) -> np.ndarray:
    """An array with zeros behind, so that a smaller last batch compiles nothing anew."""
    missing = length - len(array)
    return (
        np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        if missing
        else array
    )


def image_rows(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, 4) float32: label, predicted class, its probability, the label's."""
    probabilities = softmax(logits)
    numbers = np.arange(len(labels))
    predicted = probabilities.argmax(axis=1)
    found = [labels, predicted, probabilities[numbers, predicted], probabilities[numbers, labels]]
    return np.stack(found, axis=1).astype(np.float32)


def batch_sums(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(4,) float64 of a batch: images, summed cross-entropy, top-1 hits and top-5 hits.

    Hits are as in `is_found`; nothing is found in an image of which a logit is not finite.
    """
    is_sound = np.isfinite(logits).all(axis=1)
    hits = (is_found(logits, labels) & is_sound[:, None]).sum(axis=0)
    return np.array([len(labels), cross_entropy(logits, labels).sum(), *hits], dtype=np.float64)
