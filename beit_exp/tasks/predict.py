"""Classes and probabilities of images: `predictions.csv` and `logits.npy`."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from beit_exp.config.answers import columns
from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.hardware.device import Runtime
from beit_exp.inference.classes import rank_classes
from beit_exp.inference.evaluate import predict_all
from beit_exp.inference.images import open_images
from beit_exp.inference.network import class_names, load_network
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
        logits = predict_all(
            network,
            eval_batches(images, cfg, Shard(0, 1)),
            batch_size=min(cfg.train.batch_size, len(images)),
            flip=cfg.evaluation.flip,
        )
        elapsed_s = time.perf_counter() - started

    rankings = rank_classes(logits, class_names(cfg))
    rows = [
        [name, *ranking.classes, *(f"{share:.6f}" for share in ranking.probabilities)]
        for name, ranking in zip(names, rankings, strict=True)
    ]
    write_array(run_dir / "logits.npy", logits)
    write_table(run_dir / "predictions.csv", [["path", *columns(logits.shape[1])], *rows])
    for written in ("logits.npy", "predictions.csv"):
        tracker.log_file(run_dir / written)

    for name, ranking in zip(names[:SHOWN], rankings, strict=False):
        logger.info("%-40s %s  %.4f", name, ranking.classes[0], ranking.probabilities[0])
    if len(names) > SHOWN:
        logger.info("... and %d more", len(names) - SHOWN)
    logger.info(
        "%d images predicted, %.0f images/s, compiling included: %s and logits.npy",
        len(images),
        len(images) / elapsed_s,
        run_dir / "predictions.csv",
    )
    return {"predict/images": len(images)}
