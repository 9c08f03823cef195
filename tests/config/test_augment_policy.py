from __future__ import annotations

import numpy as np
import pytest

from beit_exp.config.augment_policy import Policy, parse_policy


def test_policy_of_the_recipe() -> None:
    assert parse_policy("rand-m9-mstd0.5-inc1") == Policy(9.0, 0.5, 10.0, 2, True)


def test_policy_options() -> None:
    assert parse_policy("rand-m7-n3-mmax8") == Policy(7.0, 0.0, 8.0, 3, False)
    assert np.isinf(parse_policy("rand-m9-mstd101").magnitude_std)
    assert not parse_policy("rand-m9-inc0").increasing


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("augmix-m3", "must be null or rand-m"),
        ("rand", "must be null or rand-m"),
        ("rand-m9-foo1", "'foo1' is not understood"),
        ("rand-m11", "m is out of range"),
        ("rand-m9-n0", "n is out of range"),
        ("rand-m9-inc2", "inc is out of range"),
        ("rand-m9-m8", "'m' stands twice"),
        ("rand-m9-mmax0", "mmax is out of range"),
    ],
)
def test_wrong_policy_is_explained(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_policy(text)
