"""Training of a small visual tokenizer: images to discrete tokens and back, as DALL-E's
autoencoder.

Source: Ramesh et al., Zero-Shot Text-to-Image Generation (arXiv 2102.12092), section 2.1 and
appendix A.
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
from beit_exp.data.views import eval_views, grid_of, train_views
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import fill_up, gather_exactly
from beit_exp.model.visual_tokenizer import build_tokenizer
from beit_exp.randomness import Stream, generator
from beit_exp.report.plots import plot_curves, plot_rows, plot_schedule, plot_usage
from beit_exp.report.summary import summary
from beit_exp.tracking.records import read_records
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import build_trainer
from beit_exp.train.loop import fit
from beit_exp.train.losses import Autoencoding, Reconstruction
from beit_exp.train.step import MicroBatch

logger = logging.getLogger(__name__)
SHOWN = 8


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Train the tokenizer of `cfg`, or go on training it, and return its final metrics."""
    train_images, val_images = training_images(cfg), open_split(cfg.dataset, "val")
    stream = TrainStream(train_images, cfg, Shard(runtime.rank, runtime.size))

    tokenizer = build_tokenizer(cfg.tokenizer, has_decoder=True, seed=cfg.seed)
    objective = Autoencoding(
        tokenizer,
        straight_through=cfg.tokenizer.straight_through,
        kl_weight=cfg.tokenizer.kl_weight,
    )
    trainer = build_trainer(
        cfg, objective, steps_per_epoch=stream.steps_per_epoch, ranks=runtime.size
    )
    reconstruct = Reconstruction(tokenizer)
    micro_steps = cfg.train.accumulate_steps
    temperatures = anneal(
        *cfg.tokenizer.temperature, steps=cfg.train.epochs * stream.batches_per_epoch
    )
    noise_shape = (cfg.tokenizer.vocabulary, grid_of(cfg), grid_of(cfg))

    def batches(first_step: int, last_step: int) -> Iterator[list[MicroBatch]]:
        views = train_views(
            stream, cfg, first=first_step * micro_steps, last=last_step * micro_steps
        )
        for step in range(first_step, last_step):
            numbers = range(step * micro_steps, (step + 1) * micro_steps)
            yield [
                (next(views).tokenizer_images, draw_gumbel(number), temperatures[number])
                for number in numbers
            ]

    def draw_gumbel(number: int) -> np.ndarray:
        """(B, V, G, G) float32 noise, an image's own on whichever device it is."""
        draws = [
            generator(cfg.seed, Stream.gumbel, number, int(slot)).gumbel(size=noise_shape)
            for slot in stream.slots
        ]
        return np.stack(draws).astype(np.float32)

    def measure(check_stop: Callable[[], None]) -> tuple[dict[str, float], np.ndarray]:
        vocabulary, size = cfg.tokenizer.vocabulary, min(cfg.train.batch_size, len(val_images))
        sums = np.zeros(3 + vocabulary)
        reconstruct.set_train(False)
        for views in eval_views(val_images, cfg, stream.shard):
            count = len(views.images)
            tokens, _, costs, errors = reconstruct(Tensor(fill_up(views.tokenizer_images, size)))
            sums[:3] += (
                count,
                costs.asnumpy()[:count].sum(dtype=float),
                errors.asnumpy()[:count].sum(dtype=float),
            )
            sums[3:] += np.bincount(tokens.asnumpy()[:count].ravel(), minlength=vocabulary)
            check_stop()
        totals = gather_exactly(sums, runtime.gather).sum(axis=0)
        metrics = {
            "loss": totals[1] / totals[0],
            "reconstruction_mse": totals[2] / totals[0],
            **usage(totals[3:]),
        }
        return {name: float(value) for name, value in metrics.items()}, totals[3:]

    plots = run_dir / "plots"

    def validate(check_stop: Callable[[], None]) -> dict[str, float]:
        found, counts = measure(check_stop)
        metrics = {f"val/{name}": value for name, value in found.items()}
        if runtime.is_leader:
            plot_usage(counts, plots / "tokens.png")
        if cfg.train.ema_decay is not None:
            with trainer.averaged_weights():
                metrics |= {
                    f"val/ema_{name}": value for name, value in measure(check_stop)[0].items()
                }
        trainer.set_train()
        return metrics

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

    shown = next(eval_views(val_images, cfg, stream.shard)).tokenizer_images[:SHOWN]
    rebuilt = reconstruct(Tensor(shown))[1].asnumpy()
    plot_rows({"image": shown, "its tokens, decoded": rebuilt}, plots / "reconstruction.png")
    records = read_records(run_dir / "metrics.jsonl")
    plot_curves({run_dir.name: records}, plots / "curves.png")
    for path in sorted(plots.glob("*.png")):
        tracker.log_file(path, folder="plots")
    if cfg.tracking.log_checkpoint:
        tracker.log_file(run_dir / "checkpoints" / "best.safetensors", folder="checkpoints")
    following = (
        f"pre-train python launch.py task=pretrain tokenizer.weights={run_dir} (with its "
        "tokenizer settings)",
    )
    logger.info(
        "%s",
        summary(metrics, records, run_dir=run_dir, uri=str(cfg.tracking.uri), following=following),
    )
    return metrics


def anneal(first: float, last: float, *, steps: int) -> np.ndarray:
    """(steps,) float32 temperatures, which fall along half a cosine."""
    share = np.arange(steps) / max(1, steps - 1)
    return (last + 0.5 * (first - last) * (1 + np.cos(np.pi * share))).astype(np.float32)


def usage(counts: np.ndarray) -> dict[str, float]:
    """Percent of the vocabulary that occurs, and as how many equally frequent tokens the counts
    are: exp(entropy).
    """
    shares = counts[counts > 0] / counts.sum()
    return {
        "token_usage": 100 * len(shares) / len(counts),
        "token_perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
    }
