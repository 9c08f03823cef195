"""Classes and probabilities for a folder of images: `predictions.csv` and `logits.npy`."""

from __future__ import annotations

import csv
import io
import logging
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

from beit_exp.config import Config, UserError
from beit_exp.data.build import Shard, eval_batches
from beit_exp.data.sources import ImageList, is_image, list_images, open_split
from beit_exp.files import replacing, write_atomically
from beit_exp.hardware import Runtime
from beit_exp.model.precision import build_precision
from beit_exp.tracking import Tracker
from beit_exp.train.evaluate import predict_batches
from beit_exp.trained import class_names, load_network

logger = logging.getLogger(__name__)
TOP = 5
SHOWN = 10


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Predict `cfg.images` (a folder, an image, a tar of images, or by default the validation set) in path order."""
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".images.") as folder:
        images = find_images(cfg, Path(folder))
        names = [path.removeprefix(f"{folder}/") for path in images.paths]
        return predict(cfg, run_dir, runtime, tracker, images, names=names)


def predict(
    cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker, images: ImageList, *, names: list[str]
) -> dict[str, float]:
    """`predictions.csv` and `logits.npy` of a list of images, which the table calls by `names`."""
    network = load_network(cfg, build_precision(cfg.hardware.amp_level, half=runtime.half))
    started = time.perf_counter()
    data = eval_batches(images, cfg, Shard(0, 1))
    logits = np.concatenate(
        [
            found
            for found, _ in predict_batches(
                network, data, batch_size=min(cfg.train.batch_size, len(images)), flip=cfg.evaluation.flip
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


def find_images(cfg: Config, folder: Path) -> ImageList:
    """The images to predict, sorted by path, without labels; a tar's are unpacked to `folder`."""
    if cfg.images is None:
        paths = open_split(cfg.dataset, "val").paths
    else:
        place = Path(cfg.images)
        if place.is_file() and tarfile.is_tarfile(place):
            unpack(place, folder)
            place = folder
        paths = [str(place)] if place.is_file() else list_images(place)
    if not paths:
        raise UserError(f"images = {cfg.images!r}: the folder holds no image")
    return ImageList(sorted(paths), np.zeros(len(paths), np.int32), [])


def unpack(archive: Path, folder: Path) -> None:
    """Write a tar's images to a folder, under their own names; whatever else it holds stays inside."""
    try:
        with tarfile.open(archive) as members:
            for member in members:
                name = Path(member.name)
                if not (member.isfile() and is_image(name.name)):
                    continue
                if name.is_absolute() or ".." in name.parts:
                    raise UserError(f"images: {archive} holds {member.name!r}, which is outside of it")
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                content = members.extractfile(member)
                assert content is not None
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"images: {archive} cannot be read as a tar: {error}") from error


def to_csv(paths: list[str], logits: np.ndarray, classes: list[str]) -> str:
    """One row an image: path, the five likeliest classes, their probabilities."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *columns(logits.shape[1])])
    for path, row in zip(paths, rank_classes(logits, classes), strict=True):
        writer.writerow([path, *(f"{value:.6f}" if isinstance(value, float) else value for value in row)])
    return text.getvalue()


def columns(num_classes: int) -> list[str]:
    """Names of what `rank_classes` gives for an image."""
    ranks = range(1, min(TOP, num_classes) + 1)
    return [*(f"class{rank}" for rank in ranks), *(f"probability{rank}" for rank in ranks)]


def rank_classes(logits: np.ndarray, classes: list[str]) -> list[list[str | float]]:
    """For each image of (B, K) logits the five likeliest classes and then their probabilities."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    found: list[list[str | float]] = []
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[: min(TOP, len(row))]
        found.append([*(classes[index] for index in best), *(float(row[index]) for index in best)])
    return found
