from __future__ import annotations

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from beit_exp.train.build import class_weights


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(5), (120, 40, 25, 10, 5))
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    found = class_weights("balanced", labels, num_classes=5)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_weights_are_those_of_the_list_or_one() -> None:
    labels = np.array([0, 1])
    assert class_weights([1, 2.5], labels, num_classes=2).tolist() == [1, 2.5]
    assert class_weights(None, labels, num_classes=2).tolist() == [1, 1]
