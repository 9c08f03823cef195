"""Images that were held out of a training: its validation set afterwards, and its test set."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from beit_exp.config.command_line import module_command
from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, eval_batches
from beit_exp.data.listing import ImageList
from beit_exp.data.pool import is_pooled
from beit_exp.data.sources import open_split, open_splits, training_images
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import evaluate, evaluate_multi_label
from beit_exp.model.beit import BEiT
from beit_exp.report.multi_label import AnyOutcomes
from beit_exp.storage.remote import local_copy
from beit_exp.tracking.lineage import trained_in
from beit_exp.tracking.records import SPLIT_FILE
from beit_exp.train.progress import Metrics
from beit_exp.train.session import CheckStop, Session
from beit_exp.train.split_file import check_split, keep_split, trained_on
from beit_exp.train.stop import listening
from beit_exp.weights.load import load_trained


def open_held_out(cfg: Config, split: str) -> ImageList:
    """The images of `val` or `test`, none of which the run that `checkpoint` names was trained on.

    `UserError` if it was, by the split in its directory; if the data set has changed since; or if
    there is no such split.
    """
    run_dir = trained_in(str(cfg.checkpoint))
    if run_dir is None:
        return open_split(cfg, split)
    trained = load_config(run_dir / "config.yaml")
    is_same_place = same_file(trained.dataset.data_url, cfg.dataset.data_url)
    if not is_same_place or not (is_pooled(cfg.dataset) or is_pooled(trained.dataset)):
        return open_split(cfg, split)
    path = run_dir / SPLIT_FILE
    if not path.is_file():
        raise UserError(
            f"{run_dir} was trained on all of train/ in {cfg.dataset.data_url}: none of it can be "
            "held out now (dataset.val_fraction, dataset.test_fraction, dataset.folds, "
            "dataset.labels); its val/ is what it was not trained on"
        )
    splits = open_splits(cfg)
    if splits.pool is not None and (trained.dataset, trained.seed) == (cfg.dataset, cfg.seed):
        check_split(splits.pool, path)
    images = splits.lists().get(split) or open_split(cfg, split)
    root, learnt = os.path.abspath(local_copy(cfg.dataset.data_url)), trained_on(path)
    names = [os.path.abspath(each).removeprefix(f"{root}/") for each in images.paths]
    if seen := [name for name in names if name in learnt]:
        raise UserError(
            f"{run_dir} was trained on {len(seen)} of the {len(names)} images of {split}, such as "
            f"{seen[0]} ({path}). Its own settings of `dataset` and its seed hold out what it was "
            "not trained on"
        )
    return images


def open_labelled(cfg: Config) -> dict[str, ImageList]:
    """The images to train on and those that `checkpoint` was not trained on, by their split."""
    return {"train": training_images(cfg), "val": open_held_out(cfg, "val")}


def same_file(one: str, other: str) -> bool:
    """Whether two texts name the same place."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


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


def evaluate_images(
    network: BEiT,
    images: ImageList,
    cfg: Config,
    runtime: Runtime,
    *,
    check_stop: CheckStop,
    flip: bool = False,
    chosen: np.ndarray | None = None,
) -> tuple[Metrics, AnyOutcomes]:
    """See `evaluate`: of all images, this rank's share of them in batches as in training.

    Of several ranks none stops by itself, for the others would wait for it.
    """
    batches = eval_batches(images, cfg, Shard(runtime.rank, runtime.size))
    batch_size = min(cfg.train.batch_size, len(images))
    check = check_stop if runtime.size == 1 else lambda: None
    gather, classes = runtime.gather, cfg.dataset.num_classes
    if cfg.dataset.multi_label:
        return evaluate_multi_label(
            network,
            batches,
            batch_size=batch_size,
            num_classes=classes,
            gather=gather,
            check_stop=check,
            flip=flip,
        )
    return evaluate(
        network,
        batches,
        batch_size=batch_size,
        gather=gather,
        check_stop=check,
        flip=flip,
        chosen=chosen,
    )


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
    try:
        with listening() as stop:
            found, _ = evaluate_images(network, images, cfg, runtime, check_stop=stop.check)
    except UserError as error:
        raise UserError(
            f"the test set: {error}. The training is done, and its weights are kept. Put a sound "
            f"file in its place, then: {module_command('worker', session.run_dir)}"
        ) from error
    measured = {f"test/{name}": value for name, value in found.items()}
    session.tracker.log(measured, step=int(metrics["step"]), epoch=metrics["epoch"])
    return measured
