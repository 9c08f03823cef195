"""Read every image of the data set once, and name those that cannot be read."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.data.sources import open_splits
from beit_exp.data.transforms import load_image
from beit_exp.errors import UserError
from beit_exp.hardware.cores import own_cores
from beit_exp.hardware.device import Runtime
from beit_exp.storage.files import write_atomically
from beit_exp.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
SHOWN = 20


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """-> numbers of images and of unreadable ones, which stand in `bad_images.txt`.

    `UserError` names the first of them.
    """
    metrics: dict[str, float] = {}
    complaints: list[str] = []
    workers = min(cfg.hardware.num_parallel_workers, len(own_cores()))
    for split, images in open_splits(cfg).lists().items():
        paths = images.paths
        with ThreadPoolExecutor(workers) as pool:
            found = [complaint for complaint in pool.map(complaint_about, paths) if complaint]
        metrics |= {f"data/{split}_images": len(paths), f"data/{split}_bad_images": len(found)}
        logger.info("%s: %d images, %d of them unreadable", split, len(paths), len(found))
        complaints += found
    tracker.log(metrics, step=0, epoch=0)
    if complaints:
        text = "".join(f"{line}\n" for line in complaints)
        write_atomically(run_dir / "bad_images.txt", text.encode())
        heading = f"{len(complaints)} images cannot be read:"
        raise UserError("\n  ".join([heading, *complaints[:SHOWN]]))
    return metrics


def complaint_about(path: str) -> str | None:
    """What is wrong with an image file, or None."""
    try:
        load_image(path)
    except UserError as error:
        return str(error)
    return None
