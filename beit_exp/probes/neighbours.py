"""k-nearest-neighbour classification of features, as DINO judges a representation.

Sources: Caron et al. (arXiv 2104.14294), section 4; Wu et al. (arXiv 1805.01978), section 3.4, for
the vote; facebookresearch/dino eval_knn.py, `knn_classifier`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg.blas import sgemm

from beit_exp.data.compiled import compiled
from beit_exp.probes.accuracy import in_percent, is_found

# N known images · Q images to be classified · D width · C neighbours · K classes

QUERIES, KNOWN = 1024, 16384  # of one product: 64 MiB of similarities
LEAST_NORM = 1e-12  # an image of zeros is like no other


def neighbour_accuracy(
    known_ND: np.ndarray,
    labels_N: np.ndarray,
    queries_QD: np.ndarray,
    answers_Q: np.ndarray,
    *,
    counts: Sequence[int],
    temperature: float,
    num_classes: int,
) -> dict[int, dict[str, float]]:
    """`top1` and `top5` in percent of `answers_Q`, for each number of neighbours.

    Where fewer images are known than that number, all of them vote.
    """
    similarities_QC, places_QC = nearest(known_ND, queries_QD, count=max(counts))
    found: dict[int, list[np.ndarray]] = {count: [] for count in counts}
    for begin in range(0, len(queries_QD), QUERIES):  # of 22,000 classes a score each is much
        part = slice(begin, begin + QUERIES)
        for count, parts in found.items():
            scores_QK = votes(
                similarities_QC[part, :count],
                labels_N[places_QC[part, :count]],
                temperature=temperature,
                num_classes=num_classes,
            )
            parts.append(is_found(scores_QK, answers_Q[part]))
    return {count: in_percent(np.concatenate(parts)) for count, parts in found.items()}


def nearest(
    known_ND: np.ndarray, queries_QD: np.ndarray, *, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(Q, C) float32 cosines of the most similar known images, falling, and (Q, C) int64 which.

    Of equal ones that with the lower number comes first. All are compared, in blocks.
    """
    known_ND, queries_QD = normalised(known_ND), normalised(queries_QD)
    shape = len(queries_QD), min(count, len(known_ND))
    similarities_QC = np.full(shape, -np.inf, np.float32)
    places_QC = np.zeros(shape, np.int64)
    for begin in range(0, len(queries_QD), QUERIES):
        part = slice(begin, begin + QUERIES)
        for first in range(0, len(known_ND), KNOWN):
            # SciPy's own BLAS: NumPy's may know no newer instructions than SSE3
            products = sgemm(1.0, known_ND[first : first + KNOWN].T, queries_QD[part].T, trans_a=1)
            keep_nearest(products.T, first, similarities_QC[part], places_QC[part])
    return similarities_QC, places_QC


def normalised(features_ND: np.ndarray) -> np.ndarray:
    """Features as float32 rows of length 1."""
    features_ND = np.ascontiguousarray(features_ND, np.float32)
    lengths_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return features_ND / np.maximum(lengths_N1, LEAST_NORM)


@compiled
def keep_nearest(
    products_QN: np.ndarray, first: int, similarities_QC: np.ndarray, places_QC: np.ndarray
) -> None:
    """Put the known images from number `first` on among the nearest so far, which stay sorted."""
    count = similarities_QC.shape[1]
    for query in range(products_QN.shape[0]):
        kept, places = similarities_QC[query], places_QC[query]
        for number in range(products_QN.shape[1]):
            similarity = products_QN[query, number]
            if similarity > kept[count - 1]:
                place = count - 1
                while place > 0 and similarity > kept[place - 1]:
                    kept[place] = kept[place - 1]
                    places[place] = places[place - 1]
                    place -= 1
                kept[place] = similarity
                places[place] = first + number


def votes(
    similarities_QC: np.ndarray, classes_QC: np.ndarray, *, temperature: float, num_classes: int
) -> np.ndarray:
    """(Q, K) sums of exp((similarity - the row's largest) / temperature) by class; -inf where no
    neighbour votes.

    So no weight is too large for a float; the order of an image's classes stays.
    """
    similarities_QC = similarities_QC.astype(np.float64)
    largest_Q1 = similarities_QC.max(axis=1, keepdims=True)
    weights_QC = np.exp((similarities_QC - largest_Q1) / temperature)
    place = np.arange(len(classes_QC))[:, None], classes_QC
    sums_QK = np.full((len(classes_QC), num_classes), -np.inf)
    sums_QK[place] = 0
    np.add.at(sums_QK, place, weights_QC)
    return sums_QK
