"""Evaluation of a checkpoint on the whole validation or test set, and on others."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beit_exp.config.schema import Config
from beit_exp.data.description import describe
from beit_exp.data.listing import ImageList
from beit_exp.hardware.device import Runtime
from beit_exp.inference.held_out import evaluate_images, open_held_out
from beit_exp.inference.network import load_network
from beit_exp.inference.other_sets import open_other_set, read_real_labels, real_hits
from beit_exp.report.calibration import calibration_error
from beit_exp.report.intervals import accuracy_interval, as_text, intervals
from beit_exp.report.mistakes import plot_outcomes
from beit_exp.report.multi_label import AnyOutcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes, confusion, confusion_table
from beit_exp.report.page import as_text as as_table
from beit_exp.report.result_files import write_table
from beit_exp.storage.remote import local_copy
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.progress import Metrics
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)
TABLE_FILE = "evaluation.csv"
HEADER = ["set", "images", "metric", "value", "low", "high"]
NO_INTERVAL = ("", "")


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """-> `val/top1`, `val/top5` (percent) and `val/loss` of the network in `cfg.checkpoint`.

    Or `test/...`, for `evaluation.split=test`; of several labels an image `val/map` and its like;
    and those of each of `evaluation.sets`, `v2/top1` and so on. The leader alone has them, and
    writes all with their intervals, and of the split each class's accuracy and the confusions.
    """
    split, flip = cfg.evaluation.split, cfg.evaluation.flip
    images = open_held_out(cfg, split)
    others = {
        name: open_other_set(name, place, images.classes)
        for name, place in cfg.evaluation.sets.items()
    }
    real = cfg.evaluation.real_labels
    answers = None if real is None else read_real_labels(Path(local_copy(real)), images)
    network = load_network(cfg, runtime)
    started = time.perf_counter()
    with listening() as stop:

        def measure(images: ImageList, **chosen: Any) -> tuple[Metrics, AnyOutcomes]:
            check_stop = stop.check
            return evaluate_images(
                network, images, cfg, runtime, check_stop=check_stop, flip=flip, **chosen
            )

        found: dict[str, tuple[Metrics, AnyOutcomes]] = {split: measure(images)}
        elapsed_s = time.perf_counter() - started
        for name, other in others.items():
            found[name] = measure(other.images, chosen=other.chosen)
    if not runtime.is_leader:
        return {}

    rows = [
        row
        for name, (metrics, outcomes) in found.items()
        for row in table_rows(name, metrics, outcomes)
    ]
    outcomes = found[split][1]
    if answers is not None and isinstance(outcomes, Outcomes):
        rows.append(real_row(outcomes, answers))
    measured = {f"{name}/{metric}": value for name, _, metric, value, *_ in rows}

    source = cfg.dataset.data_url
    found_images = describe(images, name=cfg.dataset.name, source=source, context="evaluation")
    tracker.log_facts(datasets=[found_images])
    tracker.log({**measured, "time/images_per_s": len(images) / elapsed_s}, step=0, epoch=0)
    write_table(run_dir / TABLE_FILE, [HEADER, *rows])
    tracker.log_file(run_dir / TABLE_FILE)
    write_outcomes(outcomes, images, run_dir, tracker)

    logger.info("%d images, %s of %s", len(images), split, source)
    shown = [
        [f"{name}/{metric}", count, f"{value:.4f}", as_text(None if "" in sure else sure)]
        for name, count, metric, value, *sure in rows
    ]
    logger.info("%s", as_table(["result", "images", "value", "95 % interval"], shown))
    logger.info("speed     %.0f images/s, compiling included", len(images) / elapsed_s)
    files = ", ".join(path.name for path in sorted(run_dir.glob("*.csv")))
    logger.info("files     %s (%s, plots/)", run_dir, files)
    return measured


def write_outcomes(
    outcomes: AnyOutcomes, images: ImageList, run_dir: Path, tracker: Tracker
) -> None:
    """What became of each image: counted by class, confused with which, and drawn."""
    outcomes.save(run_dir / OUTCOMES_FILE)
    tables = {"per_class.csv": outcomes.class_table(images.classes)}
    if isinstance(outcomes, Outcomes):
        matrix = confusion(outcomes, len(images.classes))
        tables["confusion.csv"] = confusion_table(matrix, images.classes)
    for file, table in tables.items():
        write_table(run_dir / file, table)
        tracker.log_file(run_dir / file)
    plot_outcomes(outcomes, images, run_dir / "plots")
    for path in sorted((run_dir / "plots").glob("*.png")):
        tracker.log_file(path, folder="plots")


def table_rows(name: str, metrics: Metrics, outcomes: AnyOutcomes) -> list[list[Any]]:
    """A row for each metric of a set of images: see `HEADER`."""
    sure, images = intervals(metrics, outcomes), len(outcomes.labels)
    rows = [
        [name, images, metric, value, *sure.get(metric, NO_INTERVAL)]
        for metric, value in metrics.items()
    ]
    if isinstance(outcomes, Outcomes):
        rows.append([name, images, "ece", calibration_error(outcomes), *NO_INTERVAL])
    return rows


def real_row(outcomes: Outcomes, answers: Sequence[frozenset[int]]) -> list[Any]:
    """The row of the accuracy by `read_real_labels`."""
    hits, asked = real_hits(outcomes, answers)
    share = 100 * hits / asked
    return ["real", asked, "top1", share, *accuracy_interval(share, asked)]
