"""Classes and probabilities for a folder of images: `predictions.csv` and `logits.npy`."""

from __future__ import annotations

import csv
import io
import logging
import tempfile
import time
from pathlib import Path

import numpy as np

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.data.sources import ImageList
from beit_exp.hardware.device import Runtime
from beit_exp.inference.classes import columns, rank_classes
from beit_exp.inference.evaluate import predict_batches
from beit_exp.inference.images import find_images
from beit_exp.inference.network import class_names, load_network
from beit_exp.storage.files import replacing, write_atomically
from beit_exp.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
SHOWN = 10


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Predict `cfg.images` (a folder, an image, a tar of images, or by default the validation set)
    in path order.
    """
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".images.") as folder:
        images = find_images(cfg, Path(folder))
        names = [path.removeprefix(f"{folder}/") for path in images.paths]
        return predict(cfg, run_dir, runtime, tracker, images, names=names)


def predict(
    cfg: Config,
    run_dir: Path,
    runtime: Runtime,
    tracker: Tracker,
    images: ImageList,
    *,
    names: list[str],
) -> dict[str, float]:
    """`predictions.csv` and `logits.npy` of a list of images, which the table calls by `names`."""
    network = load_network(cfg, runtime)
    started = time.perf_counter()
    data = eval_batches(images, cfg, Shard(0, 1))
    logits = np.concatenate(
        [
            found
            for found, _ in predict_batches(
                network,
                data,
                batch_size=min(cfg.train.batch_size, len(images)),
                flip=cfg.evaluation.flip,
            )
        ]
    )
    elapsed_s = time.perf_counter() - started
    with replacing(run_dir / "logits.npy") as temporary, temporary.open("wb") as file:
        np.save(file, logits)
    write_atomically(run_dir / "predictions.csv", to_csv(names, logits, class_names(cfg)).encode())
    for written in ("logits.npy", "predictions.csv"):
        tracker.log_file(run_dir / written)
    table = rank_classes(logits[:SHOWN], class_names(cfg))
    for name, row in zip(names, table, strict=False):
        logger.info("%-40s %s  %.4f", name, row[0], row[len(row) // 2])
    logger.info(
        "%d images predicted, %.0f images/s, compiling included: %s and logits.npy",
        len(images),
        len(images) / elapsed_s,
        run_dir / "predictions.csv",
    )
    return {"predict/images": len(images)}


def to_csv(paths: list[str], logits: np.ndarray, classes: list[str]) -> str:
    """One row an image: path, the five likeliest classes, their probabilities."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *columns(logits.shape[1])])
    for path, row in zip(paths, rank_classes(logits, classes), strict=True):
        writer.writerow(
            [path, *(f"{value:.6f}" if isinstance(value, float) else value for value in row)]
        )
    return text.getvalue()
