"""What a representation is worth without fine-tuning: neighbours, linear and few-shot probes."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.inference.feature_files import FOLDER, StoredFeatures
from beit_exp.inference.features import block_numbers, load_features, store_features
from beit_exp.inference.held_out import open_labelled
from beit_exp.probes.findings import (
    Finding,
    as_rows,
    best_of_each,
    by_block,
    metrics_of,
    probe_block,
)
from beit_exp.probes.linear import Labelled
from beit_exp.probes.subsets import is_held_out
from beit_exp.report.page import as_text
from beit_exp.report.result_files import write_table
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)
TABLE_FILE = "probe.csv"


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """-> `probe/knn_top1` and its like (percent) of the features of `cfg.checkpoint`.

    That is a network, or a run of task=features. All is learnt from train, and measured on val.
    """
    with open_features(cfg, run_dir, runtime) as folder, listening() as stop:
        if not runtime.is_leader:
            return {}
        train, val = (StoredFeatures(folder / split) for split in ("train", "val"))
        labels, answers = train.labels(), val.labels()
        held_out_N = is_held_out(labels, share=cfg.probe.held_out, seed=cfg.seed)
        if not held_out_N.any():
            raise UserError(
                "probe.held_out: no class of train has two images, so none can be held out: "
                "a probe needs more of each"
            )
        findings: list[Finding] = []
        for block in chosen_blocks(cfg, train):
            stop.check()
            findings += probe_block(
                block,
                Labelled(np.asarray(train.read(block), np.float32), labels),
                Labelled(np.asarray(val.read(block), np.float32), answers),
                cfg.probe,
                held_out_N=held_out_N,
                num_classes=cfg.dataset.num_classes,
                seed=cfg.seed,
            )
            logger.info("block %d is probed", block)

    metrics = metrics_of(findings)
    tracker.log(metrics, step=0, epoch=0)
    write_table(run_dir / TABLE_FILE, as_rows(findings))
    tracker.log_file(run_dir / TABLE_FILE)
    logger.info("%s\n\n%s", as_text(*by_block(findings)), conclusion(findings, run_dir))
    return metrics


@contextmanager
def open_features(cfg: Config, run_dir: Path, runtime: Runtime) -> Iterator[Path]:
    """The folder with the features of train and val: stored ones, or made for as long as this is
    open.

    `UserError` if those that are stored are not such as the settings say.
    """
    stored = Path(str(cfg.checkpoint)) / FOLDER
    if stored.is_dir():
        check_stored(cfg, stored)
        yield stored
        return
    sets = {split: (images, images.paths) for split, images in open_labelled(cfg).items()}
    depth = cfg.model.depth
    wanted = range(depth) if cfg.probe.blocks == "all" else cfg.probe.blocks
    network = load_features(cfg, runtime, blocks=block_numbers(wanted, depth))
    with (
        tempfile.TemporaryDirectory(dir=run_dir, prefix=".features.") as folder,
        listening() as stop,
    ):
        store_features(network, sets, Path(folder), cfg, runtime, check_stop=stop.check)
        yield Path(folder)


def check_stored(cfg: Config, stored: Path) -> None:
    """`UserError` unless a run's features are of train and val, and pooled as the settings say."""
    if not all((stored / split).is_dir() for split in ("train", "val")):
        raise UserError(
            f"{stored} holds no features of train and val: task=features writes them where "
            "`images` is null"
        )
    pooling = load_config(stored.parent / "config.yaml").features.pooling
    if pooling != cfg.features.pooling:
        raise UserError(
            f"features.pooling = {cfg.features.pooling!r}: the features in {stored} are {pooling!r}"
        )


def chosen_blocks(cfg: Config, train: StoredFeatures) -> list[int]:
    """The numbers of the blocks to probe; `UserError` if one was not stored."""
    there = train.blocks()
    if cfg.probe.blocks == "all":
        return there
    wanted = block_numbers(cfg.probe.blocks, cfg.model.depth)
    if missing := [number for number in wanted if number not in there]:
        raise UserError(
            f"probe.blocks = {cfg.probe.blocks}: {train.folder} holds the blocks {there}, and not "
            f"{missing}"
        )
    return wanted


def conclusion(findings: list[Finding], run_dir: Path) -> str:
    """What counts, what chose it, and where all of it is."""
    lines = ["top-1, the block and its setting chosen on held-out images of train:"]
    for name, best in best_of_each(findings).items():
        spread = "" if best.top1_std is None else f" ± {best.top1_std:.2f}"
        setting = {"knn": f"k = {best.setting:g}, ", "linear": f"C = {best.setting:g}, "}
        chosen = f"{setting.get(best.probe, '')}block {best.block}"
        lines.append(f"{name:11}{best.top1:.2f}{spread}  ({chosen})")
    if slow := sorted({each.name for each in findings if not each.has_converged}):
        lines.append(f"warning    not converged (probe.max_iterations): {', '.join(slow)}")
    return "\n".join([*lines, "", f"files      {run_dir} ({TABLE_FILE})"])
