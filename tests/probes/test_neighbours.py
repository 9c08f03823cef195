"""k nearest neighbours, against scikit-learn's and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from beit_exp.probes import neighbours
from beit_exp.probes.neighbours import nearest, neighbour_accuracy, normalised, votes

TEMPERATURE = 0.07


@pytest.mark.parametrize("count", [1, 10, 20, 100, 200])
def test_accuracy_is_that_of_scikit_learns_classifier(pixels, count: int) -> None:
    def weights(distances: np.ndarray) -> np.ndarray:  # of vectors of length 1: d² = 2 - 2 cos
        return np.exp((1 - distances**2 / 2) / TEMPERATURE)

    known, queries = (normalize(each.astype(np.float64)) for each in (pixels.known, pixels.queries))
    model = KNeighborsClassifier(count, weights=weights, algorithm="brute").fit(
        known, pixels.labels
    )
    found = neighbour_accuracy(
        pixels.known,
        pixels.labels,
        pixels.queries,
        pixels.answers,
        counts=[count],
        temperature=TEMPERATURE,
        num_classes=10,
    )[count]
    image = 100 / len(pixels.answers)
    assert found["top1"] == pytest.approx(100 * model.score(queries, pixels.answers), abs=image / 2)
    ranked = np.argsort(-model.predict_proba(queries), axis=1, kind="stable")[:, :5]
    shares = np.take_along_axis(model.predict_proba(queries), ranked, axis=1)
    top5 = ((ranked == pixels.answers[:, None]) & (shares > 0)).any(axis=1).mean()
    assert found["top5"] == pytest.approx(100 * top5, abs=image / 2)


def test_blocks_of_any_size_find_the_same_neighbours(pixels, monkeypatch) -> None:
    at_once = nearest(pixels.known, pixels.queries, count=30)
    monkeypatch.setattr(neighbours, "QUERIES", 100)
    monkeypatch.setattr(neighbours, "KNOWN", 37)
    in_blocks = nearest(pixels.known, pixels.queries, count=30)
    np.testing.assert_allclose(in_blocks[0], at_once[0], rtol=1e-6)
    all_cosines = normalised(pixels.queries) @ normalised(pixels.known).T
    np.testing.assert_allclose(at_once[0], -np.sort(-all_cosines)[:, :30], rtol=1e-6)
    of_them = np.take_along_axis(all_cosines, in_blocks[1], axis=1)
    np.testing.assert_allclose(of_them, at_once[0], rtol=1e-6)


def test_of_equally_similar_images_the_earlier_comes_first() -> None:
    known = np.array([[0, 1], [1, 0], [3, 0], [1, 0], [1, 1]], np.float32)
    similarities, places = nearest(known, np.array([[2, 0]], np.float32), count=5)
    assert places.tolist() == [[1, 2, 3, 4, 0]]
    np.testing.assert_allclose(similarities, [[1, 1, 1, 0.5**0.5, 0]], atol=1e-7)
    assert nearest(known, np.array([[2, 0]], np.float32), count=2)[1].tolist() == [[1, 2]]


def test_where_there_are_fewer_images_all_are_neighbours() -> None:
    known = np.eye(3, dtype=np.float32)
    assert nearest(known, known, count=200)[0].shape == (3, 3)
    found = neighbour_accuracy(
        known,
        np.arange(3),
        known,
        np.arange(3),
        counts=[1, 200],
        temperature=1.0,
        num_classes=4,
    )
    assert found == {1: {"top1": 100.0, "top5": 100.0}, 200: {"top1": 100.0, "top5": 100.0}}


def test_a_vote_weighs_by_similarity_and_a_class_without_one_is_never_found() -> None:
    similarities = np.array([[0.9, 0.8, 0.8]], np.float32)
    sums = votes(similarities, np.array([[2, 0, 0]]), temperature=0.5, num_classes=4)
    expected = [[2 * np.exp(-0.2), -np.inf, 1, -np.inf]]
    np.testing.assert_allclose(sums, expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-2, 1e-3, 1e-4, 1e-6])
def test_at_a_small_temperature_the_nearest_image_decides(temperature: float) -> None:
    similarities = np.array([[0.9, 0.8, 0.1], [-0.9, -0.95, -1]], np.float32)
    sums = votes(
        similarities, np.array([[2, 0, 1], [3, 1, 0]]), temperature=temperature, num_classes=4
    )
    assert sums.argmax(axis=1).tolist() == [2, 3]
    np.testing.assert_allclose(sums.max(axis=1), 1, rtol=1e-6)
    # Also where exp is 0 a neighbour has voted
    assert (sums > -np.inf).tolist() == [[True, True, True, False], [True, True, False, True]]


def test_an_image_of_zeros_is_like_no_other() -> None:
    known = np.array([[0, 0], [1, 1]], np.float32)
    similarities, places = nearest(known, np.array([[1, 1], [0, 0]], np.float32), count=2)
    np.testing.assert_allclose(similarities, [[1, 0], [0, 0]], atol=1e-6)
    assert places.tolist() == [[1, 0], [0, 1]]
