from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beit_exp.weights.names import Arrays
from beit_exp.weights.soup import RunningMean, make_soup


def arrays(seed: int) -> Arrays:
    """Weights of several sizes, with values of several magnitudes, zeros of both signs too."""
    rng = np.random.default_rng(seed)
    small = rng.standard_normal((3, 5)) * 10.0 ** rng.integers(-40, 30, (3, 5))
    return {
        "blocks.0.norm1.weight": small.astype(np.float32),
        "head.bias": np.array([0.0, -0.0, rng.standard_normal()], np.float32),
    }


def readers(*found: Arrays) -> dict[str, Callable[[], Arrays]]:
    return {f"job {number}": lambda one=one: one for number, one in enumerate(found)}


def same_bits(first: Arrays, second: Arrays) -> bool:
    return first.keys() == second.keys() and all(
        array.dtype == second[name].dtype == np.float32
        and array.tobytes() == second[name].tobytes()
        for name, array in first.items()
    )


def nothing(_: Arrays) -> dict[str, float]:
    return {"val/top1": 0.0, "val/loss": 0.0}


@given(st.integers(1, 40))
def test_a_mean_is_numpys_in_float64_rounded_once(count: int) -> None:
    found = [arrays(seed) for seed in range(count)]
    soup = make_soup("uniform", readers(*found), measure=nothing, objective="val/top1")
    for name, array in soup.arrays.items():
        exact = np.mean([one[name].astype(np.float64) for one in found], axis=0)
        # The sum's own rounding is far below float32's, so at the most the neighbour is met
        assert np.all(np.abs(array - exact) <= np.spacing(np.abs(array)) / 2 * (1 + 1e-6))


@given(st.integers(0, 1000), st.integers(2, 50), st.sampled_from(["uniform", "greedy"]))
def test_the_soup_of_identical_ingredients_is_the_ingredient(
    seed: int, count: int, kind: str
) -> None:
    one = arrays(seed)
    soup = make_soup(kind, readers(*[one] * count), measure=nothing, objective="val/top1")
    assert len(soup.taken) == count
    assert same_bits(soup.arrays, one)


def test_a_mean_is_what_it_was_tried_as_and_the_same_on_every_repetition() -> None:
    mean, again = RunningMean(), RunningMean()
    for seed in range(7):
        tried = mean.with_one_more(arrays(seed)) if seed else arrays(seed)
        mean.add(arrays(seed))
        again.add(arrays(seed))
        assert same_bits(mean.arrays(), tried)
    assert same_bits(mean.arrays(), again.arrays())


def numbered(count: int) -> dict[str, Callable[[], Arrays]]:
    """Ingredients that a measure can tell apart, and their means too: each a digit of base 2."""
    return readers(*({"x": np.array([2.0**number], np.float32)} for number in range(count)))


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=6),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["val/top1", "val/loss", "best/val/top1"]),
)
def test_a_greedy_soup_is_never_worse_than_its_best_ingredient(
    values: list[int], seed: int, objective: str
) -> None:
    metric = objective.removeprefix("best/")
    calls: dict[float, float] = {2.0**number: value for number, value in enumerate(values)}
    rng = np.random.default_rng(seed)

    def measure(weights: Arrays) -> dict[str, float]:
        calls.setdefault(float(weights["x"][0]), float(rng.integers(0, 5)))
        return {metric: calls[float(weights["x"][0])]}

    soup = make_soup("greedy", numbered(len(values)), measure=measure, objective=objective)
    best = min(values) if metric == "val/loss" else max(values)
    end = measure(soup.arrays)[metric]
    assert end <= best if metric == "val/loss" else end >= best
    assert soup.best_alone(objective).own[metric] == best
    assert [taste.own[metric] for taste in soup.tastes] == sorted(
        values, reverse=metric != "val/loss"
    )
    taken = [int(name.removeprefix("job ")) for name in soup.taken]
    assert soup.arrays["x"][0] == np.float32(np.mean([2.0**number for number in taken]))


def test_a_greedy_soup_takes_what_makes_it_no_worse_and_tells_what_it_tried() -> None:
    measured = {1.0: 60.0, 2.0: 70.0, 4.0: 50.0}  # alone; then of the means of 2 and 1, and 2 and 4
    measured |= {1.5: 69.0, 3.0: 70.0}
    soup = make_soup(
        "greedy",
        numbered(3),
        measure=lambda weights: {"val/top1": measured[float(weights["x"][0])]},
        objective="best/val/top1",
    )
    assert soup.table("best/val/top1") == [
        ["ingredient", "val/top1", "taken", "val/top1 of the mean with it"],
        ["job 1", 70.0, "yes", 70.0],
        ["job 0", 60.0, "no", 69.0],
        ["job 2", 50.0, "yes", 70.0],
    ]
    assert soup.arrays["x"] == 3


@pytest.mark.parametrize("kind", ["greedy", "uniform"])
def test_a_network_whose_loss_is_not_finite_is_the_worst(kind: str) -> None:
    measured = {1.0: float("nan"), 2.0: 1.0, 1.5: float("nan")}
    soup = make_soup(
        kind,
        numbered(2),
        measure=lambda weights: {"val/loss": measured[float(weights["x"][0])]},
        objective="val/loss",
    )
    assert soup.best_alone("val/loss").name == "job 1"
    assert soup.taken == (["job 1"] if kind == "greedy" else ["job 0", "job 1"])
