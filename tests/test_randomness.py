from __future__ import annotations

import numpy as np
import pytest

from beit_exp.randomness import Stream, generator, restart


def test_a_generator_is_philox_at_its_key_and_counters() -> None:
    counter = np.array([0, 7, 8, 9], np.uint64)
    philox = np.random.Philox(key=np.array([42, Stream.mixup], np.uint64), counter=counter)
    expected = np.random.Generator(philox).random(9)
    assert (generator(42, Stream.mixup, 7, 8, 9).random(9) == expected).all()


@pytest.mark.parametrize("drawn", [0, 1, 2, 5])
def test_a_generator_restarted_has_forgotten_what_it_drew(drawn: int) -> None:
    rng = generator(1, Stream.sample, 2, 3)
    for _ in range(drawn):  # half a number of 64 bits each: the other half must not be left
        rng.integers(15)
    restart(rng, 42, Stream.sample, 5)
    other = generator(42, Stream.sample, 5)
    assert rng.integers(1000, size=9).tolist() == other.integers(1000, size=9).tolist()
    assert rng.normal(size=9).tolist() == other.normal(size=9).tolist()


def test_more_than_three_counters_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 3 counters fit, got 4"):
        generator(42, Stream.sample, 1, 2, 3, 4)
