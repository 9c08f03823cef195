"""Pre-training by masked image modelling: hide patches of an image, predict their visual tokens.

Sources: Bao et al., BEiT (arXiv 2106.08254); unilm/beit run_beit_pretraining.py and
engine_for_pretraining.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mindspore import Tensor

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.sources import describe, open_split, training_images
from beit_exp.data.views import Views, eval_masks, eval_views, train_masks, train_views
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import fill_up, gather_exactly
from beit_exp.launch.tokenizer_first import tokenizer_place
from beit_exp.model.build import build_masked_model, drop_path_keep
from beit_exp.model.precision import build_precision
from beit_exp.model.visual_tokenizer import VisualTokenizer
from beit_exp.report.plots import hide, plot_curves, plot_rows, plot_schedule, plot_usage
from beit_exp.report.summary import summary
from beit_exp.tracking.records import read_records
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import build_trainer
from beit_exp.train.loop import fit
from beit_exp.train.losses import MaskedPrediction, Reconstruction
from beit_exp.train.step import MicroBatch
from beit_exp.weights.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)
SHOWN = 8


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Train the network of `cfg`, or go on training it, and return its final metrics."""
    train_images, val_images = training_images(cfg), open_split(cfg.dataset, "val")
    stream = TrainStream(train_images, cfg, Shard(runtime.rank, runtime.size))

    tokenizer = load_tokenizer(cfg.tokenizer, tokenizer_place(cfg, run_dir))
    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    network = build_masked_model(
        cfg.model, vocabulary=cfg.tokenizer.vocabulary, precision=precision, seed=cfg.seed
    )
    if cfg.train.recompute:
        for block in network.blocks:
            block.recompute()
    objective = MaskedPrediction(network)
    trainer = build_trainer(
        cfg, objective, steps_per_epoch=stream.steps_per_epoch, ranks=runtime.size
    )

    def draw_keep(micro_step: int) -> np.ndarray | None:
        rate, depth = cfg.model.drop_path_rate, cfg.model.depth
        return drop_path_keep(
            rate, depth=depth, seed=cfg.seed, micro_step=micro_step, slots=stream.slots
        )

    def batches(first_step: int, last_step: int) -> Iterator[list[MicroBatch]]:
        micro_steps = cfg.train.accumulate_steps
        first, last = first_step * micro_steps, last_step * micro_steps
        views, masks = (
            train_views(stream, cfg, first=first, last=last),
            train_masks(stream, cfg, first=first, last=last),
        )
        for step in range(first_step, last_step):
            numbers = range(step * micro_steps, (step + 1) * micro_steps)
            yield [
                (
                    *masked_batch(tokenizer, next(views), next(masks), cfg, cfg.train.batch_size),
                    draw_keep(number),
                )
                for number in numbers
            ]

    def measure(check_stop: Callable[[], None]) -> dict[str, float]:
        size, sums = min(cfg.train.batch_size, len(val_images)), np.zeros(3)
        objective.set_train(False)
        views, masks = (
            eval_views(val_images, cfg, stream.shard),
            eval_masks(val_images, cfg, stream.shard),
        )
        for view, mask in zip(views, masks, strict=True):
            arrays = masked_batch(tokenizer, view, mask, cfg, size)
            loss, accuracy = objective(*map(Tensor, arrays), None)
            sums += np.array([1.0, float(loss.asnumpy()), float(accuracy.asnumpy())]) * mask.sum()
            check_stop()
        count, loss_sum, accuracy_sum = gather_exactly(sums, runtime.gather).sum(axis=0).tolist()
        return {"loss": loss_sum / count, "masked_accuracy": accuracy_sum / count}

    def validate(check_stop: Callable[[], None]) -> dict[str, float]:
        metrics = {f"val/{name}": value for name, value in measure(check_stop).items()}
        if cfg.train.ema_decay is not None:
            with trainer.averaged_weights():
                metrics |= {f"val/ema_{name}": value for name, value in measure(check_stop).items()}
        trainer.set_train()
        return metrics

    plots = run_dir / "plots"
    if runtime.is_leader:
        splits = (("training", train_images), ("validation", val_images))
        name, source = cfg.dataset.name, cfg.dataset.data_url
        tracker.log_facts(
            datasets=[describe(part, name=name, source=source, context=use) for use, part in splits]
        )
        groups, steps_per_epoch = trainer.optimizer.groups, stream.steps_per_epoch
        plot_schedule(
            trainer.schedule, groups, steps_per_epoch=steps_per_epoch, path=plots / "schedule.png"
        )
        views, hidden = (
            next(train_views(stream, cfg, first=0, last=1)),
            next(train_masks(stream, cfg, first=0, last=1)),
        )
        draw_batch(tokenizer, views, hidden, cfg, plots)

    metrics = fit(
        trainer,
        cfg,
        steps_per_epoch=stream.steps_per_epoch,
        batches=batches,
        evaluate=validate,
        facts={"config": cfg.model_dump()},
        run_dir=run_dir,
        runtime=runtime,
        tracker=tracker,
    )
    metrics["data/bad_images"] = len(stream.bad_images)
    if not runtime.is_leader:
        return metrics

    records = read_records(run_dir / "metrics.jsonl")
    plot_curves({run_dir.name: records}, plots / "curves.png")
    for path in sorted(plots.glob("*.png")):
        tracker.log_file(path, folder="plots")
    if cfg.tracking.log_checkpoint:
        tracker.log_file(run_dir / "checkpoints" / "best.safetensors", folder="checkpoints")
    following = (
        f"fine-tune python launch.py model.pretrained={run_dir} (with this run's model settings)",
    )
    logger.info(
        "%s",
        summary(metrics, records, run_dir=run_dir, uri=str(cfg.tracking.uri), following=following),
    )
    return metrics


def masked_batch(
    tokenizer: VisualTokenizer, views: Views, hidden_BGG: np.ndarray, cfg: Config, batch_size: int
) -> tuple[np.ndarray, ...]:
    """What `MaskedPrediction` takes before the drop-path draws, of always the same shapes.

    A mask may hide fewer patches than `mask.num_mask_patches`, and a last batch be smaller: weight
    0 fills up.
    """
    tokens_BP = tokenizer(Tensor(fill_up(views.tokenizer_images, batch_size))).asnumpy()
    hidden_BP = fill_up(hidden_BGG.reshape(len(hidden_BGG), -1), batch_size)
    found = np.flatnonzero(hidden_BP)
    places_M = fill_up(found, batch_size * cfg.mask.num_mask_patches).astype(np.int32)
    weights_M = fill_up(np.ones(len(found), np.float32), len(places_M))
    images_BCSS = fill_up(views.images, batch_size)
    return (
        images_BCSS,
        hidden_BP.astype(np.float32),
        places_M,
        tokens_BP.reshape(-1)[places_M],
        weights_M,
    )


def draw_batch(
    tokenizer: VisualTokenizer, views: Views, hidden_BGG: np.ndarray, cfg: Config, plots: Path
) -> None:
    """Pictures: what the network sees, what the tokenizer sees and makes of it, and which tokens
    there are.
    """
    mean, std = (
        np.array(values, np.float32)[:, None, None]
        for values in (cfg.dataset.mean, cfg.dataset.std)
    )
    rows = {
        "image": views.images[:SHOWN] * std + mean,
        "hidden": hide(views.images[:SHOWN] * std + mean, hidden_BGG[:SHOWN]),
        "tokenizer's view": views.tokenizer_images[:SHOWN],
    }
    if tokenizer.decoder is not None:
        rows["its tokens, decoded"] = Reconstruction(tokenizer)(
            Tensor(views.tokenizer_images[:SHOWN])
        )[1].asnumpy()
    plot_rows(rows, plots / "masked.png")
    tokens_BP = tokenizer(Tensor(views.tokenizer_images)).asnumpy()
    plot_usage(
        np.bincount(tokens_BP.ravel(), minlength=cfg.tokenizer.vocabulary), plots / "tokens.png"
    )
