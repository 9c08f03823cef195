"""What probes find in the features of a block, and which of it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.probing import ProbeConfig, ProbePart
from beit_exp.probes.linear import (
    Labelled,
    fit_few_shot,
    measure_linear,
    probe_linear,
    standardised,
)
from beit_exp.probes.neighbours import neighbour_accuracy

COLUMNS = ("probe", "block", "setting", "held_out_top1", "top1", "top5", "top1_std", "converged")


class Finding(NamedTuple):
    """What one probe of one block found, in percent."""

    probe: ProbePart
    block: int
    setting: float  # neighbours, inverse regularisation, images a class
    held_out_top1: float  # of the training images that were held out to choose on
    top1: float
    top5: float
    top1_std: float | None = None  # over the draws of few images
    has_converged: bool = True

    @property
    def name(self) -> str:
        """What it is called in metrics, whatever its block."""
        return f"few_shot{self.setting:g}" if self.probe == "few_shot" else self.probe

    def metrics(self) -> dict[str, float]:
        """Its accuracies under its name."""
        found = {f"{self.name}_top1": self.top1, f"{self.name}_top5": self.top5}
        return found if self.top1_std is None else found | {f"{self.name}_top1_std": self.top1_std}


def probe_block(
    block: int,
    train: Labelled,
    val: Labelled,
    cfg: ProbeConfig,
    *,
    held_out_N: np.ndarray,
    num_classes: int,
    seed: int,
) -> list[Finding]:
    """All parts of `cfg` on one block's features; what is chosen, is chosen without `val`."""
    found: list[Finding] = []
    scaled_train, scaled_val = standardised(train, val)
    for part in cfg.parts:
        match part:
            case "knn":
                found += _knn(block, train, val, cfg, held_out_N, num_classes)
            case "linear":
                result = probe_linear(
                    scaled_train,
                    scaled_val,
                    held_out_N=held_out_N,
                    grid=cfg.inverse_regularisation,
                    max_iterations=cfg.max_iterations,
                    num_classes=num_classes,
                )
                found.append(
                    Finding(
                        part,
                        block,
                        result.inverse_regularisation,
                        result.held_out_top1,
                        result.measured["top1"],
                        result.measured["top5"],
                        has_converged=result.has_converged,
                    )
                )
            case "few_shot":
                rest, held_out = scaled_train.chosen(~held_out_N), scaled_train.chosen(held_out_N)
                found += _few_shot(block, rest, held_out, scaled_val, cfg, num_classes, seed)
            case _:
                assert_never(part)
    return found


def _knn(
    block: int,
    train: Labelled,
    val: Labelled,
    cfg: ProbeConfig,
    held_out_N: np.ndarray,
    num_classes: int,
) -> Iterator[Finding]:
    def measure(known: Labelled, queries: Labelled) -> dict[int, dict[str, float]]:
        return neighbour_accuracy(
            *known,
            *queries,
            counts=cfg.neighbours,
            temperature=cfg.temperature,
            num_classes=num_classes,
        )

    on_held_out = measure(train.chosen(~held_out_N), train.chosen(held_out_N))
    for count, measured in measure(train, val).items():
        held_out_top1 = on_held_out[count]["top1"]
        yield Finding("knn", block, count, held_out_top1, measured["top1"], measured["top5"])


def _few_shot(
    block: int,
    train: Labelled,
    held_out: Labelled,
    val: Labelled,
    cfg: ProbeConfig,
    num_classes: int,
    seed: int,
) -> Iterator[Finding]:
    for count in cfg.few_shot:
        models = fit_few_shot(
            train,
            count=count,
            draws=cfg.few_shot_draws,
            seed=seed,
            inverse_regularisation=cfg.few_shot_inverse_regularisation,
            max_iterations=cfg.max_iterations,
        )
        on_held_out, on_val = (
            [measure_linear(model, images, num_classes=num_classes) for model in models]
            for images in (held_out, val)
        )
        tops = [draw["top1"] for draw in on_val]
        yield Finding(
            "few_shot",
            block,
            count,
            float(np.mean([draw["top1"] for draw in on_held_out])),
            float(np.mean(tops)),
            float(np.mean([draw["top5"] for draw in on_val])),
            top1_std=float(np.std(tops, ddof=1)),
            has_converged=all(model.n_iter_.max() < cfg.max_iterations for model in models),
        )


def best_of_each(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Of each probe that of the block, and of the number of neighbours, best on held-out images.

    Of equals the first.
    """
    best: dict[str, Finding] = {}
    for finding in findings:
        known = best.get(finding.name)
        if known is None or finding.held_out_top1 > known.held_out_top1:
            best[finding.name] = finding
    return best


def metrics_of(findings: Sequence[Finding]) -> dict[str, float]:
    """`probe/knn_top1` and its like of the best, `probe/block3_knn20_top1` and its like of all."""
    found = {
        f"probe/{name}": value
        for finding in best_of_each(findings).values()
        for name, value in finding.metrics().items()
    }
    for finding in findings:
        count = f"{finding.setting:g}" if finding.probe == "knn" else ""
        found[f"probe/block{finding.block}_{finding.name}{count}_top1"] = finding.top1
    return found


def as_rows(findings: Sequence[Finding]) -> list[list[Any]]:
    """A heading, then all that was found."""
    rows = [["" if value is None else value for value in finding] for finding in findings]
    return [list(COLUMNS), *rows]


def by_block(findings: Sequence[Finding]) -> tuple[list[str], list[list[Any]]]:
    """Columns of probes and a row for each block: top-1 in percent."""
    columns: dict[str, dict[int, str]] = {}
    for finding in findings:
        text = {"knn": f"{finding.setting:g}-NN", "linear": "linear"}
        title = text.get(finding.probe, f"{finding.setting:g} a class")
        told = f"{finding.top1:.2f}"
        if finding.top1_std is not None:
            told += f" ± {finding.top1_std:.2f}"
        columns.setdefault(title, {})[finding.block] = told
    blocks = sorted({finding.block for finding in findings})
    return ["block", *columns], [
        [str(block), *(column[block] for column in columns.values())] for block in blocks
    ]
