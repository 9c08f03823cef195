"""Features of images, for other programs: what a network's blocks make of them, as arrays."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.hardware.device import Runtime
from beit_exp.inference.feature_files import FOLDER
from beit_exp.inference.features import block_numbers, load_features, store_features
from beit_exp.inference.held_out import open_labelled
from beit_exp.inference.images import open_images
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Write `features/<set>/block<number>.npy` and `images.csv` for each set of images.

    These are those of `cfg.images` or, by default, the splits train and val.
    """
    with ExitStack() as opened:
        if cfg.images is None:
            sets = {split: (images, images.paths) for split, images in open_labelled(cfg).items()}
        else:
            sets = {"images": opened.enter_context(open_images(cfg, run_dir))}
        blocks = block_numbers(cfg.features.blocks, cfg.model.depth)
        network = load_features(cfg, runtime, blocks=blocks)
        stop = opened.enter_context(listening())
        folder = run_dir / FOLDER
        store_features(network, sets, folder, cfg, runtime, check_stop=stop.check)
    logger.info("files     %s: %s", folder, ", ".join(f"{name}/" for name in sets))
    return {f"features/{name}_images": len(images) for name, (images, _) in sets.items()}
