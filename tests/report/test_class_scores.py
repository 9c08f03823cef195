from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from beit_exp.report.class_scores import class_scores


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("classes", [2, 5, 1000])
def test_scores_of_classes_are_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    weights = rng.dirichlet(np.full(classes, 0.3))  # uneven, and some without an image
    for count in (1, 7, 400):
        labels, predicted = rng.choice(classes, (2, count), p=weights)
        predicted = np.where(rng.random(count) < 0.6, labels, predicted)
        found = class_scores(labels, predicted)
        expected = (
            balanced_accuracy_score(labels, predicted),
            f1_score(labels, predicted, average="macro"),
        )
        np.testing.assert_allclose(list(found.values()), 100 * np.array(expected), rtol=1e-12)


def test_a_class_of_which_nothing_is_found_weighs_as_much_as_the_others() -> None:
    labels = np.array([0] * 9 + [1])
    assert class_scores(labels, np.zeros(10, int))["balanced_accuracy"] == 50
