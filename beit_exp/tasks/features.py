"""Features of images, for other programs: what a network's blocks make of them, as arrays."""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.data.listing import ImageList
from beit_exp.data.sources import training_images
from beit_exp.hardware.device import Runtime
from beit_exp.inference.feature_files import FOLDER, write_features
from beit_exp.inference.features import block_numbers, feature_rows, load_features
from beit_exp.inference.held_out import open_held_out
from beit_exp.inference.images import open_images
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Write `features/<set>/block<number>.npy` and `images.csv` for each set of images.

    These are those of `cfg.images` or, by default, the splits train and val.
    """
    blocks = block_numbers(cfg.features.blocks, cfg.model.depth)
    with ExitStack() as opened:
        sets: dict[str, tuple[ImageList, list[str]]] = {}
        if cfg.images is None:
            for split, images in labelled_sets(cfg).items():
                sets[split] = images, images.paths
        else:
            sets["images"] = opened.enter_context(open_images(cfg, run_dir))
        network = load_features(cfg, runtime, blocks=blocks)
        stop = opened.enter_context(listening())
        for name, (images, names) in sets.items():
            started, folder = time.perf_counter(), run_dir / FOLDER / name
            rows = feature_rows(network, images, cfg, runtime, check_stop=stop.check)
            if runtime.is_leader:
                write_features(folder, rows, images, names, cfg.features, blocks=blocks)
                speed = len(images) / (time.perf_counter() - started)
                text = "%d images, %.0f images/s, compiling included: %s"
                logger.info(text, len(images), speed, folder)
            else:
                deque(rows, maxlen=0)  # the leader gets this rank's share by them
    return {f"features/{name}_images": len(images) for name, (images, _) in sets.items()}


def labelled_sets(cfg: Config) -> dict[str, ImageList]:
    """The images to train on and those held out, none of which the network was trained on."""
    return {"train": training_images(cfg), "val": open_held_out(cfg, "val")}
