"""Evaluation of a checkpoint on the whole validation or test set."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.data.description import describe
from beit_exp.hardware.device import Runtime
from beit_exp.inference.held_out import evaluate_images, open_held_out
from beit_exp.inference.network import load_network
from beit_exp.report.intervals import as_text, intervals
from beit_exp.report.mistakes import plot_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes, confusion, confusion_table
from beit_exp.report.result_files import write_table
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """-> `val/top1`, `val/top5` (percent) and `val/loss` of the network in `cfg.checkpoint`.

    Or `test/...`, for `evaluation.split=test`; of several labels an image `val/map` and its like.

    The leader writes the accuracy of each class and, of one label an image, the confusion matrix,
    as tables and pictures.
    """
    split = cfg.evaluation.split
    images = open_held_out(cfg, split)
    network = load_network(cfg, runtime)
    started = time.perf_counter()
    with listening() as stop:
        found, outcomes = evaluate_images(
            network, images, cfg, runtime, check_stop=stop.check, flip=cfg.evaluation.flip
        )
    elapsed_s = time.perf_counter() - started
    metrics = {f"{split}/{name}": value for name, value in found.items()}
    if not runtime.is_leader:
        return metrics

    source = cfg.dataset.data_url
    found_images = describe(images, name=cfg.dataset.name, source=source, context="evaluation")
    tracker.log_facts(datasets=[found_images])
    tracker.log({**metrics, "time/images_per_s": len(images) / elapsed_s}, step=0, epoch=0)
    outcomes.save(run_dir / OUTCOMES_FILE)
    tables = {"per_class.csv": outcomes.class_table(images.classes)}
    if isinstance(outcomes, Outcomes):
        matrix = confusion(outcomes, len(images.classes))
        tables["confusion.csv"] = confusion_table(matrix, images.classes)
    for name, table in tables.items():
        write_table(run_dir / name, table)
        tracker.log_file(run_dir / name)
    plot_outcomes(outcomes, images, run_dir / "plots")
    for path in sorted((run_dir / "plots").glob("*.png")):
        tracker.log_file(path, folder="plots")

    logger.info("%d images, %s of %s", len(images), split, cfg.dataset.data_url)
    width, sure = max(map(len, metrics)), intervals(found, outcomes)
    logger.info("%-*s %9s   %s", width, "result", "", "95 % interval")
    for name, value in found.items():
        text = as_text(sure.get(name))
        logger.info("%-*s %9.4f   %s", width, f"{split}/{name}", value, text)
    logger.info("speed     %.0f images/s, compiling included", len(images) / elapsed_s)
    logger.info("files     %s (%s, plots/)", run_dir, ", ".join(tables))
    return metrics
