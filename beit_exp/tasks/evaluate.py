"""Evaluation of a checkpoint on the whole validation set."""

from __future__ import annotations

import logging
from pathlib import Path

from beit_exp.config import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.data.sources import open_split
from beit_exp.hardware import Runtime
from beit_exp.model.precision import build_precision
from beit_exp.report.mistakes import plot_outcomes
from beit_exp.tracking import Tracker
from beit_exp.train.evaluate import OUTCOMES_FILE, evaluate
from beit_exp.train.stop import listening
from beit_exp.trained import load_network

logger = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """-> `val/top1`, `val/top5` (percent) and `val/loss` of the network in `cfg.checkpoint`."""
    images = open_split(cfg.dataset, "val")
    network = load_network(cfg, build_precision(cfg.hardware.amp_level, half=runtime.half))
    with listening() as stop:
        data = eval_batches(images, cfg, Shard(runtime.rank, runtime.size))
        found, outcomes = evaluate(
            network,
            data,
            batch_size=min(cfg.train.batch_size, len(images)),
            gather=runtime.gather,
            check_stop=stop.check if runtime.size == 1 else lambda: None,
        )
    metrics = {f"val/{name}": value for name, value in found.items()}
    if not runtime.is_leader:
        return metrics
    tracker.log(metrics, step=0, epoch=0)
    outcomes.save(run_dir / OUTCOMES_FILE)
    plot_outcomes(outcomes, images, run_dir / "plots")
    for path in sorted((run_dir / "plots").glob("*.png")):
        tracker.log_file(path, folder="plots")
    logger.info("%d images of %s", len(images), cfg.dataset.data_url)
    for name, value in metrics.items():
        logger.info("%-9s %s", name, value)
    logger.info("files     %s", run_dir)
    return metrics
