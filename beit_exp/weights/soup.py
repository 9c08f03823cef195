"""Averages of weights, "model soups": Wortsman et al. 2022, arXiv 2203.05482, recipes 1 and 2."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.objective import metric_of, rank
from beit_exp.config.schema import SoupKind
from beit_exp.train.progress import Metrics
from beit_exp.weights.names import Arrays

logger = logging.getLogger(__name__)

Read = Callable[[], Arrays]
Measure = Callable[[Arrays], Metrics]  # `val/...` of a network with these weights


class Taste(NamedTuple):
    """What became of an ingredient."""

    name: str
    own: Metrics
    is_taken: bool
    mean: Metrics | None  # of the mean of those taken before and this one; None: not measured


class Soup(NamedTuple):
    """A mean of weights, and its ingredients in the order in which they were tried."""

    arrays: Arrays
    tastes: list[Taste]

    @property
    def taken(self) -> list[str]:
        return [taste.name for taste in self.tastes if taste.is_taken]

    def best_alone(self, objective: str) -> Taste:
        """The ingredient that is the best by itself."""
        return max(self.tastes, key=lambda taste: _rank(taste.own, objective))

    def table(self, objective: str) -> list[list[Any]]:
        """A heading, then each ingredient: its objective, and what the mean's was with it."""
        metric = metric_of(objective)
        rows = [
            [
                taste.name,
                taste.own[metric],
                "yes" if taste.is_taken else "no",
                None if taste.mean is None else taste.mean[metric],
            ]
            for taste in self.tastes
        ]
        return [["ingredient", metric, "taken", f"{metric} of the mean with it"], *rows]


class RunningMean:
    """The mean of arrays by name: one sum in float64, in the order in which they come."""

    def __init__(self) -> None:
        self.sums: Arrays = {}
        self.count = 0

    def add(self, arrays: Arrays) -> None:
        """Take in one more of each, of the same names and shapes as those before."""
        if not self.sums:
            self.sums = {name: array.astype(np.float64) for name, array in arrays.items()}
        else:
            for name, array in arrays.items():
                self.sums[name] += array
        self.count += 1

    def arrays(self) -> Arrays:
        """Float32 means."""
        return {name: (total / self.count).astype(np.float32) for name, total in self.sums.items()}

    def with_one_more(self, arrays: Arrays) -> Arrays:
        """What the means would be, bit for bit, if these were added."""
        count = self.count + 1
        return {
            name: ((total + arrays[name]) / count).astype(np.float32)
            for name, total in self.sums.items()
        }


def make_soup(
    kind: SoupKind, ingredients: Mapping[str, Read], *, measure: Measure, objective: str
) -> Soup:
    """The mean of the weights of ingredients, each of which is measured by itself first.

    One sum is kept, so what is in memory does not grow with their number.
    """
    own: dict[str, Metrics] = {}
    for name, read in ingredients.items():
        own[name] = measure(read())
        tell(name, own[name], objective)
    match kind:
        case "uniform":
            return _uniform(ingredients, own)
        case "greedy":
            return _greedy(ingredients, own, measure=measure, objective=objective)
        case _:
            assert_never(kind)


def tell(what: str, metrics: Metrics, objective: str) -> None:
    """Say what was measured: the next measurement may take minutes."""
    metric = metric_of(objective)
    logger.info("%s %.4f of %s", metric, metrics[metric], what)


def _uniform(ingredients: Mapping[str, Read], own: Mapping[str, Metrics]) -> Soup:
    mean = RunningMean()
    for read in ingredients.values():
        mean.add(read())
    tastes = [Taste(name, own[name], is_taken=True, mean=None) for name in ingredients]
    return Soup(mean.arrays(), tastes)


def _greedy(
    ingredients: Mapping[str, Read],
    own: Mapping[str, Metrics],
    *,
    measure: Measure,
    objective: str,
) -> Soup:
    """Begins with the best, and takes each next one that makes the mean's objective no worse."""
    first, *others = sorted(own, key=lambda name: _rank(own[name], objective), reverse=True)
    mean = RunningMean()
    mean.add(ingredients[first]())
    held = own[first]
    tastes = [Taste(first, held, is_taken=True, mean=held)]
    for name in others:
        arrays = ingredients[name]()
        found = measure(mean.with_one_more(arrays))
        tell(f"the mean with {name}", found, objective)
        # The objective alone: an equal one is taken, for a mean of more networks is the steadier
        is_taken = _rank(found, objective)[0] >= _rank(held, objective)[0]
        tastes.append(Taste(name, own[name], is_taken=is_taken, mean=found))
        if is_taken:
            mean.add(arrays)
            held = found
    return Soup(mean.arrays(), tastes)


def _rank(metrics: Metrics, objective: str) -> tuple[float, float, float]:
    return rank({**metrics, "step": 0}, objective)
