"""Training of a small visual tokenizer: images to discrete tokens and back, as DALL-E's
autoencoder.

Source: Ramesh et al., Zero-Shot Text-to-Image Generation (arXiv 2102.12092), section 2.1 and
appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mindspore import Tensor

from beit_exp.config.schema import Config
from beit_exp.data.build import TrainStream
from beit_exp.data.views import eval_views, grid_of, train_views
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import fill_up, gather_exactly
from beit_exp.launch.following import pretraining_command
from beit_exp.model.visual_tokenizer import build_tokenizer
from beit_exp.randomness import Stream, generator
from beit_exp.report.plots import plot_rows, plot_usage
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import build_trainer
from beit_exp.train.loop import fit
from beit_exp.train.losses import Autoencoding, Reconstruction
from beit_exp.train.progress import Metrics
from beit_exp.train.session import CheckStop, open_session
from beit_exp.train.step import MicroBatch

SHOWN = 8


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """Train the tokenizer of `cfg`, or go on training it, and return its final metrics."""
    session = open_session(cfg, run_dir, runtime, tracker)
    stream, val_images = session.stream, session.val_images

    settings, vocabulary = cfg.tokenizer, cfg.tokenizer.vocabulary
    tokenizer = build_tokenizer(settings, has_decoder=True, seed=cfg.seed)
    objective = Autoencoding(
        tokenizer, straight_through=settings.straight_through, kl_weight=settings.kl_weight
    )
    reconstruct = Reconstruction(tokenizer)
    steps_per_epoch = stream.steps_per_epoch
    trainer = build_trainer(cfg, objective, steps_per_epoch=steps_per_epoch, ranks=runtime.size)
    temperatures = anneal(*settings.temperature, steps=cfg.train.epochs * stream.batches_per_epoch)

    def batches(first: int, last: int) -> Iterator[MicroBatch]:
        made = train_views(stream, cfg, first=first, last=last)
        for number, views in enumerate(made, start=first):
            yield views.tokenizer_images, draw_gumbel(cfg, stream, number), temperatures[number]

    def measure(check_stop: CheckStop) -> tuple[Metrics, np.ndarray]:
        size = min(cfg.train.batch_size, len(val_images))
        sums = np.zeros(3 + vocabulary)
        reconstruct.set_train(False)
        for views in eval_views(val_images, cfg, stream.shard):
            count = len(views.images)
            tokens, _, costs, errors = reconstruct(Tensor(fill_up(views.tokenizer_images, size)))
            cost, error = (part.asnumpy()[:count].sum(dtype=float) for part in (costs, errors))
            sums[:3] += count, cost, error
            sums[3:] += np.bincount(tokens.asnumpy()[:count].ravel(), minlength=vocabulary)
            check_stop()
        totals = gather_exactly(sums, runtime.gather).sum(axis=0)
        means = {"loss": totals[1] / totals[0], "reconstruction_mse": totals[2] / totals[0]}
        found = {**means, **usage(totals[3:])}
        return {name: float(value) for name, value in found.items()}, totals[3:]

    if runtime.is_leader:
        session.begin(trainer, weights="from scratch")

    validate = session.make_validate(
        trainer, measure, keep=lambda counts: plot_usage(counts, session.plots / "tokens.png")
    )
    metrics = fit(session, trainer, batches=batches, validate=validate, facts={})
    if runtime.is_leader:
        shown = next(eval_views(val_images, cfg, stream.shard)).tokenizer_images[:SHOWN]
        rebuilt = reconstruct(Tensor(shown))[1].asnumpy()
        rows = {"image": shown, "its tokens, decoded": rebuilt}
        plot_rows(rows, session.plots / "reconstruction.png")
        following = f"pre-train {pretraining_command(cfg, str(run_dir))}"
        session.finish(metrics, following=(following,))
    return metrics


def draw_gumbel(cfg: Config, stream: TrainStream, number: int) -> np.ndarray:
    """(B, V, G, G) float32 noise of a micro-batch, an image's own on whichever device it is."""
    shape = (cfg.tokenizer.vocabulary, grid_of(cfg), grid_of(cfg))
    draws = [
        generator(cfg.seed, Stream.gumbel, number, int(slot)).gumbel(size=shape)
        for slot in stream.slots
    ]
    return np.stack(draws).astype(np.float32)


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
