"""How far a run has come, and what is due there."""

from __future__ import annotations

from dataclasses import dataclass, field

from beit_exp.config.objective import rank

Metrics = dict[str, float]


@dataclass
class Progress:
    """What a checkpoint tells of a run besides its weights and the trainer's numbers."""

    evaluated_step: int = 0
    last: Metrics = field(default_factory=dict)  # of the last evaluation
    best: Metrics = field(default_factory=dict)  # of the best one, with its `step` and `epoch`
    fruitless: int = 0  # evaluations in a row that did not better the objective
    is_pruned: bool = False  # a job of a sweep that has no hope
    skipped_in_a_row: int = 0
    records: int = 0  # lines of metrics.jsonl

    def add_evaluation(self, metrics: Metrics, found: Metrics, *, objective: str) -> bool:
        """Take in an evaluation; returns whether it is the best so far.

        `found` are its metrics with its `step` and `epoch`.
        """
        self.last = metrics
        self.evaluated_step = int(found["step"])
        self.fruitless = (
            0 if is_higher(found, self.best, objective=objective) else self.fruitless + 1
        )
        is_best = is_better(found, self.best, objective=objective)
        if is_best:
            self.best = found
        return is_best

    def final_metrics(self) -> Metrics:
        """Of the last evaluation, and under `best/` of the best one."""
        return {**self.last, **{f"best/{name}": value for name, value in self.best.items()}}


def due(count: int, every: int, total: int) -> bool:
    """Whether something done every so often is due now; at the end it always is."""
    return count % every == 0 or count == total


def is_better(found: Metrics, best: Metrics, *, objective: str) -> bool:
    """Whether an evaluation, with its `step`, beats the best so far."""
    return not best or rank(found, objective) > rank(best, objective)


def is_higher(found: Metrics, best: Metrics, *, objective: str) -> bool:
    """Whether an evaluation betters the objective itself: being later, or of a lower loss, is not
    enough.
    """
    return not best or rank(found, objective)[0] > rank(best, objective)[0]
