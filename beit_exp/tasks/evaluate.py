"""Evaluation of a checkpoint on the whole validation set."""

from __future__ import annotations

import csv
import io
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.data.sources import open_split
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import evaluate
from beit_exp.inference.network import load_network
from beit_exp.model.precision import build_precision
from beit_exp.report.mistakes import plot_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes
from beit_exp.storage.files import write_atomically
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """-> `val/top1`, `val/top5` (percent) and `val/loss` of the network in `cfg.checkpoint`.

    The leader writes the accuracy of each class and the confusion matrix, as tables and pictures.
    """
    images = open_split(cfg.dataset, "val")
    network = load_network(cfg, build_precision(cfg.hardware.amp_level, half=runtime.half))
    started = time.perf_counter()
    with listening() as stop:
        data = eval_batches(images, cfg, Shard(runtime.rank, runtime.size))
        found, outcomes = evaluate(
            network,
            data,
            batch_size=min(cfg.train.batch_size, len(images)),
            gather=runtime.gather,
            check_stop=stop.check if runtime.size == 1 else lambda: None,
            flip=cfg.evaluation.flip,
        )
    elapsed_s = time.perf_counter() - started
    metrics = {f"val/{name}": value for name, value in found.items()}
    if not runtime.is_leader:
        return metrics
    tracker.log({**metrics, "time/images_per_s": len(images) / elapsed_s}, step=0, epoch=0)
    outcomes.save(run_dir / OUTCOMES_FILE)
    matrix = confusion(outcomes, len(images.classes))
    names = images.classes
    write_atomically(run_dir / "per_class.csv", to_csv(per_class(matrix, names)))
    rows = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
    write_atomically(run_dir / "confusion.csv", to_csv([["class / predicted", *names], *rows]))
    for name in ("per_class.csv", "confusion.csv"):
        tracker.log_file(run_dir / name)
    plot_outcomes(outcomes, images, run_dir / "plots")
    for path in sorted((run_dir / "plots").glob("*.png")):
        tracker.log_file(path, folder="plots")
    logger.info("%d images of %s", len(images), cfg.dataset.data_url)
    for name, value in metrics.items():
        logger.info("%-9s %s", name, value)
    logger.info("speed     %.0f images/s, compiling included", len(images) / elapsed_s)
    logger.info("files     %s (per_class.csv, confusion.csv, plots/)", run_dir)
    return metrics


def confusion(outcomes: Outcomes, classes: int) -> np.ndarray:
    """(K, K) numbers of images by class and predicted class."""
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (outcomes.labels, outcomes.predicted), 1)
    return matrix


def per_class(matrix: np.ndarray, classes: list[str]) -> list[list[Any]]:
    """A heading, then each class with its images, its top-1 accuracy and what it is most often
    taken for.
    """
    wrong = matrix * (1 - np.eye(len(matrix), dtype=int))
    rows: list[list[Any]] = [["class", "images", "top1", "most confused with"]]
    for number, name in enumerate(classes):
        count = int(matrix[number].sum())
        accuracy = round(100 * matrix[number, number] / count, 4) if count else ""
        rows.append(
            [name, count, accuracy, classes[wrong[number].argmax()] if wrong[number].any() else ""]
        )
    return rows


def to_csv(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
