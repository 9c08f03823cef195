"""Images that were held out of a training: its validation set afterwards, and its test set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config
from beit_exp.data.build import eval_batches
from beit_exp.data.listing import ImageList
from beit_exp.data.pool import is_pooled
from beit_exp.data.sources import open_split, open_splits
from beit_exp.errors import UserError
from beit_exp.inference.evaluate import evaluate
from beit_exp.model.beit import BEiT
from beit_exp.tracking.records import SPLIT_FILE
from beit_exp.train.progress import Metrics
from beit_exp.train.session import Session
from beit_exp.train.split_file import check_split, keep_split
from beit_exp.train.stop import listening
from beit_exp.weights.load import load_trained


def open_held_out(cfg: Config, split: str) -> ImageList:
    """The images of `val` or `test`, which are those of the run that `checkpoint` names.

    `UserError` if the data set has changed since, for some of them may have been trained on, or if
    there is no such split.
    """
    run_dir = Path(str(cfg.checkpoint))
    if is_pooled(cfg.dataset) and (run_dir / SPLIT_FILE).is_file():
        trained, pool = load_config(run_dir / "config.yaml"), open_splits(cfg).pool
        if pool is not None and (trained.dataset, trained.seed) == (cfg.dataset, cfg.seed):
            check_split(pool, run_dir / SPLIT_FILE)
    return open_split(cfg, split)


def open_shared_validation(cfg: Config, run_dirs: Iterable[Path], *, keep_in: Path) -> ImageList:
    """The validation images of several runs; a split is kept in the directory of the run that asks.

    `UserError` if one of the runs had another split: it may have been trained on some of them.
    """
    splits = open_splits(cfg)
    if splits.pool is not None:
        for run_dir in dict.fromkeys(run_dirs):
            if not (run_dir / SPLIT_FILE).is_file():
                raise UserError(
                    f"{run_dir} was trained without the split that the settings make now: it may "
                    "have been trained on images that they hold out"
                )
            check_split(splits.pool, run_dir / SPLIT_FILE)
        keep_split(splits.pool, keep_in, is_begun=False)
    return splits.val


def measure_test_set(session: Session, network: BEiT, metrics: Metrics) -> Metrics:
    """`test/...` of a run's best weights, logged at its last step; nothing without a test set.

    Nothing is chosen by these, so they are measured when all else is done: `metrics` are the final
    ones. The network holds the best weights afterwards.
    """
    images, cfg, runtime = session.test_images, session.cfg, session.runtime
    if images is None:
        return {}
    runtime.gather(np.zeros(1))  # the leader has written its last checkpoint
    load_trained(network, str(session.run_dir), kind="best")
    with listening() as stop:
        found, _ = evaluate(
            network,
            eval_batches(images, cfg, session.stream.shard),
            batch_size=min(cfg.train.batch_size, len(images)),
            gather=runtime.gather,
            check_stop=stop.check if runtime.size == 1 else lambda: None,
        )
    measured = {f"test/{name}": value for name, value in found.items()}
    session.tracker.log(measured, step=int(metrics["step"]), epoch=metrics["epoch"])
    return measured
