"""Linear probes, against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beit_exp.probes.linear import (
    Labelled,
    fit_few_shot,
    fit_linear,
    linear_scores,
    measure_linear,
    probe_linear,
    standardised,
)
from beit_exp.probes.subsets import few_of_each_class, is_held_out

GRID = [1.0, 0.001, 0.01]


@pytest.fixture(scope="module")
def sets(pixels) -> tuple[Labelled, Labelled]:
    """Training images and measured ones, standardised."""
    known, queries = Labelled(pixels.known, pixels.labels), Labelled(pixels.queries, pixels.answers)
    return standardised(known, queries)


def test_a_probe_is_scikit_learns_with_the_penalty_that_is_best_on_held_out_images(
    pixels, sets: tuple[Labelled, Labelled]
) -> None:
    train, measured = sets
    held_out = is_held_out(train.labels, share=0.1, seed=0)
    found = probe_linear(
        train, measured, held_out_N=held_out, grid=GRID, max_iterations=1000, num_classes=10
    )
    tops = {}
    for value in GRID:
        model = LogisticRegression(C=value, max_iter=1000)
        model.fit(train.features[~held_out], train.labels[~held_out])
        tops[value] = 100 * model.score(train.features[held_out], train.labels[held_out])
    best = min(value for value in GRID if tops[value] == max(tops.values()))
    assert found.has_converged
    assert (found.inverse_regularisation, found.held_out_top1) == (best, pytest.approx(tops[best]))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=best, max_iter=1000))
    model.fit(pixels.known, pixels.labels)
    expected = 100 * model.score(pixels.queries, pixels.answers)
    image = 100 / len(pixels.answers)
    assert found.measured["top1"] == pytest.approx(expected, abs=image / 2)
    assert found.measured["top5"] >= found.measured["top1"] > 95


def test_what_is_measured_has_no_part_in_the_choice(sets: tuple[Labelled, Labelled]) -> None:
    train, measured = sets
    other = measured._replace(labels=(measured.labels + 1) % 10)
    held_out = is_held_out(train.labels, share=0.1, seed=0)
    one, two = (
        probe_linear(
            train, each, held_out_N=held_out, grid=GRID, max_iterations=1000, num_classes=10
        )
        for each in (measured, other)
    )
    assert one[:2] == two[:2]
    assert two.measured["top1"] < 10 < one.measured["top1"]


def test_few_shot_accuracy_is_that_of_scikit_learn_on_each_draw(
    sets: tuple[Labelled, Labelled],
) -> None:
    train, measured = sets
    models = fit_few_shot(
        train, count=5, draws=3, seed=7, inverse_regularisation=1.0, max_iterations=1000
    )
    found = [measure_linear(model, measured, num_classes=10)["top1"] for model in models]
    expected = []
    for draw in range(3):
        chosen = few_of_each_class(train.labels, 5, draw=draw, seed=7)
        model = LogisticRegression(max_iter=1000).fit(train.features[chosen], train.labels[chosen])
        expected.append(100 * model.score(measured.features, measured.labels))
    np.testing.assert_allclose(found, expected, atol=50 / len(measured.labels))
    assert len(set(found)) > 1


def test_too_few_iterations_are_told(sets: tuple[Labelled, Labelled]) -> None:
    train, measured = sets
    held_out = is_held_out(train.labels, share=0.1, seed=0)
    found = probe_linear(
        train, measured, held_out_N=held_out, grid=[1.0], max_iterations=3, num_classes=10
    )
    assert not found.has_converged


def test_two_classes_have_two_scores_and_an_unseen_one_is_never_found() -> None:
    features = np.array([[-2.0], [-1], [1], [2]])
    model = fit_linear(
        Labelled(features, np.array([0, 0, 2, 2])), inverse_regularisation=1.0, max_iterations=100
    )
    scores = linear_scores(model, features, num_classes=3)
    assert scores.argmax(axis=1).tolist() == [0, 0, 2, 2]
    assert (scores[:, 1] == -np.inf).all()
    measured = measure_linear(model, Labelled(features, np.array([0, 0, 2, 1])), num_classes=3)
    assert measured == {"top1": 75.0, "top5": 75.0}


def test_features_are_standardised_by_the_training_images(pixels) -> None:
    train, measured = standardised(
        Labelled(pixels.known, pixels.labels), Labelled(pixels.queries, pixels.answers)
    )
    varies = pixels.known.std(axis=0) > 0
    np.testing.assert_allclose(train.features[:, varies].mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(train.features[:, varies].std(axis=0), 1, rtol=1e-10)
    expected = (pixels.queries - pixels.known.mean(axis=0, dtype=np.float64))[:, varies]
    scale = pixels.known.std(axis=0, dtype=np.float64)[varies]
    np.testing.assert_allclose(measured.features[:, varies], expected / scale, rtol=1e-5, atol=1e-6)
