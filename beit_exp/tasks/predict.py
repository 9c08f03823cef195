"""Classes and probabilities of images: `predictions.csv` and `logits.npy`."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from beit_exp.config.answers import columns
from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.hardware.device import Runtime
from beit_exp.inference.classes import answer_rows, rank_classes
from beit_exp.inference.evaluate import predict_all
from beit_exp.inference.images import open_images
from beit_exp.inference.network import class_names, load_network
from beit_exp.model.operations.choice import kept_weights
from beit_exp.report.result_files import write_array, write_table
from beit_exp.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
SHOWN = 10


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Predict `cfg.images` in path order.

    These are a folder, an image, a tar of images, or by default the validation set.
    """
    with open_images(cfg, run_dir) as (images, names):
        network = load_network(cfg, runtime)
        started = time.perf_counter()
        with kept_weights():
            logits = predict_all(
                network,
                eval_batches(images, cfg, Shard(0, 1)),
                batch_size=min(cfg.train.batch_size, len(images)),
                flip=cfg.evaluation.flip,
            )
        elapsed_s = time.perf_counter() - started

    classes, multi_label = class_names(cfg), cfg.dataset.multi_label
    header = ["path", *columns(len(classes), multi_label=multi_label)]
    answers = answer_rows(logits, classes, multi_label=multi_label)
    rows = [
        [name, *(f"{each:.6f}" if isinstance(each, float) else each for each in answer)]
        for name, answer in zip(names, answers, strict=True)
    ]
    write_array(run_dir / "logits.npy", logits)
    write_table(run_dir / "predictions.csv", [header, *rows])
    for written in ("logits.npy", "predictions.csv"):
        tracker.log_file(run_dir / written)

    shown = rank_classes(logits[:SHOWN], classes, multi_label=multi_label)
    for name, ranking, answer in zip(names, shown, answers, strict=False):
        labels = f"  {answer[0] or 'no label'}; likeliest" if multi_label else ""
        best, share = ranking.classes[0], ranking.probabilities[0]
        logger.info("%-40s%s %s  %.4f", name, labels, best, share)
    if len(names) > SHOWN:
        logger.info("... and %d more", len(names) - SHOWN)
    logger.info(
        "images predicted: %d, %.0f images/s, compiling included: %s and logits.npy",
        len(images),
        len(images) / elapsed_s,
        run_dir / "predictions.csv",
    )
    return {"predict/images": len(images)}
