"""What a benchmark measured, with its spread."""

from __future__ import annotations

import json
import logging
import os
import shlex
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.process import library_environment
from beit_exp.hardware.processor import effective_isa, features
from beit_exp.model.operations.choice import describe_kernels
from beit_exp.model.operations.onednn_kernels import ONEDNN

logger = logging.getLogger(__name__)
Span = tuple[float, float]
OURS = "BEIT_EXP_"  # variables by which processes of a run know each other


def quartiles(metrics: Mapping[str, float], seconds: Mapping[str, list[float]]) -> dict[str, Span]:
    """The middle half of the repeats, of every metric that is a median of `seconds` or images
    divided by one.
    """
    found = {}
    for part, taken in seconds.items():
        middle = statistics.median(taken)
        first, third = np.percentile(taken, [25, 75]).tolist()
        if f"{part}_s" in metrics:
            found[f"{part}_s"] = (first, third)
        if f"{part}_images_per_s" in metrics:
            images = metrics[f"{part}_images_per_s"] * middle
            found[f"{part}_images_per_s"] = (images / third, images / first)
    return found


class Pair(NamedTuple):
    """Images per second of this run and of the other command, one right after the other."""

    ours: float
    theirs: float


def measure_other(command: str) -> float:
    """Images per second that another command tells as `images_per_s` of the JSON on its last line;
    `UserError` if it fails or tells none.
    """
    words = shlex.split(command)
    alone = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OURS) and name not in library_environment()
    }
    try:
        done = subprocess.run(words, env=alone, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"benchmark.against = {command!r}: {words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise UserError(
            f"benchmark.against = {command!r} ended with exit status {done.returncode}: {last}"
        )
    try:
        speed = float(json.loads((done.stdout.strip().splitlines() or [""])[-1])["images_per_s"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"benchmark.against = {command!r}: its last line must be JSON with images_per_s"
        ) from error
    if not speed > 0:
        raise UserError(f"benchmark.against = {command!r}: images_per_s is {speed:g}")
    return speed


def compare_pairs(pairs: Iterable[Pair]) -> dict[str, float]:
    """How many times as fast this run is: the median of the pairs' ratios, the least and the
    largest.
    """
    pairs = list(pairs)
    ratios = [pair.ours / pair.theirs for pair in pairs]
    return {
        "paired_images_per_s": statistics.median(pair.ours for pair in pairs),
        "against_images_per_s": statistics.median(pair.theirs for pair in pairs),
        "against_ratio": statistics.median(ratios),
        "against_ratio_least": min(ratios),
        "against_ratio_largest": max(ratios),
    }


def timing_table(title: str, metrics: Mapping[str, float], spread: Mapping[str, Span]) -> str:
    """The medians, and the quartiles where repeats are behind them."""
    table = Table("metric", "median", "quartiles", title=title)
    table.columns[1].justify = "right"
    for name, value in metrics.items():
        span = spread.get(name)
        told = f"{span[0]:.4g} to {span[1]:.4g}" if span else ""
        table.add_row(f"benchmark/{name}", f"{value:.4g}", told)
    console = Console(width=100)
    with console.capture() as text:
        console.print(table)
    return text.get()


def describe_processor() -> dict[str, object]:
    """What its speed depends on: instruction sets, and those that oneDNN takes."""
    isa = effective_isa(ONEDNN) if ONEDNN.exists() else None
    return {"features": features(), "onednn": isa, "kernels": describe_kernels()}


def tell(cfg: Config, report: dict[str, Any], table: str, *, run_dir: Path) -> None:
    """The result for people and, as the last line, for a program: `benchmark.against` reads it."""
    metrics, processor = report["metrics"], report["processor"]
    if processor["kernels"] is not None:
        logger.info("kernels   %s", processor["kernels"])
        sets = " ".join(processor["features"]) or "unknown"
        logger.info("processor %s; oneDNN takes %s", sets, processor["onednn"])
    load = metrics["benchmark/other_load_cores"]
    quiet = "quiet" if report["is_quiet"] else "not quiet: judge by pairs in turn"
    logger.info("machine   %s; other processes kept %.2f cores busy", quiet, load)
    logger.info("%s", table)
    logger.info("files     %s", run_dir)
    part = cfg.benchmark.parts[0]
    if (speed := metrics.get(f"benchmark/{part}_images_per_s")) is not None:
        logger.info("%s", json.dumps({"part": part, "images_per_s": speed}))
