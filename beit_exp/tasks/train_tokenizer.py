"""Training of a visual tokenizer: DALL-E's autoencoder of pixels, or BEiT v2's of what a teacher
sees.

Sources: Ramesh et al., Zero-Shot Text-to-Image Generation (arXiv 2102.12092), section 2.1 and
appendix A; Peng et al., BEiT v2 (arXiv 2208.06366), section 2.2; unilm/beit2 run_vqkd_training.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, nn
from typing_extensions import assert_never

from beit_exp.config.schema import Config
from beit_exp.data.build import TrainStream
from beit_exp.data.views import eval_views, grid_of, train_views
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import fill_up, gather_exactly
from beit_exp.launch.following import pretraining_command
from beit_exp.model.precision import build_precision
from beit_exp.model.visual_tokenizer import build_tokenizer
from beit_exp.model.vqkd import build_vqkd
from beit_exp.randomness import Stream, generator
from beit_exp.report.plots import plot_rows, plot_usage
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import build_trainer, prepare_network
from beit_exp.train.distillation import Comparison, Distillation, place_codes
from beit_exp.train.loop import fit
from beit_exp.train.losses import Autoencoding, Reconstruction
from beit_exp.train.progress import Metrics
from beit_exp.train.session import CheckStop, Session, open_session
from beit_exp.train.step import MicroBatch
from beit_exp.weights.teacher import load_teacher

SHOWN = 8


class Tokenizing(NamedTuple):
    """What one kind of tokenizer brings to its training."""

    objective: nn.Cell
    batches: Callable[[int, int], Iterator[MicroBatch]]
    metrics: tuple[str, ...]  # of an image
    judge: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # -> (B, P) tokens, (M, B) of them
    draw: Callable[[np.ndarray, Path], None]  # a picture of some images


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """Train the tokenizer of `cfg`, or go on training it, and return its final metrics."""
    session = open_session(cfg, run_dir, runtime, tracker)
    stream, val_images, vocabulary = session.stream, session.val_images, cfg.tokenizer.vocabulary

    kind = open_kind(session)
    steps_per_epoch = stream.steps_per_epoch
    trainer = build_trainer(
        cfg, kind.objective, steps_per_epoch=steps_per_epoch, ranks=runtime.size
    )

    def measure(check_stop: CheckStop) -> tuple[Metrics, np.ndarray]:
        size, own = min(cfg.train.batch_size, len(val_images)), 1 + len(kind.metrics)
        sums = np.zeros(own + vocabulary)
        kind.objective.set_train(False)
        for views in eval_views(val_images, cfg, stream.shard):
            count = len(views.images)
            tokens_BP, found_MB = kind.judge(fill_up(views.tokenizer_images, size))
            sums[:own] += count, *found_MB[:, :count].sum(axis=1, dtype=float)
            sums[own:] += np.bincount(tokens_BP[:count].ravel(), minlength=vocabulary)
            check_stop()
        totals = gather_exactly(sums, runtime.gather).sum(axis=0)
        means = dict(zip(kind.metrics, (totals[1:own] / totals[0]).tolist(), strict=True))
        return means | usage(totals[own:]), totals[own:]

    if runtime.is_leader:
        session.begin(weights="from scratch")

    validate = session.make_validate(
        trainer, measure, keep=lambda counts: plot_usage(counts, session.plots / "tokens.png")
    )
    metrics = fit(session, trainer, batches=kind.batches, validate=validate, facts={})
    if runtime.is_leader:
        shown = next(eval_views(val_images, cfg, stream.shard)).tokenizer_images[:SHOWN]
        kind.draw(shown, session.plots)
        following = f"pre-train {pretraining_command(cfg, str(run_dir))}"
        session.finish(metrics, following=(following,))
    return metrics


def open_kind(session: Session) -> Tokenizing:
    """The kind of tokenizer that the settings name."""
    kind = session.cfg.tokenizer.kind
    match kind:
        case "dvae":
            return autoencoder(session)
        case "vqkd":
            return distilled(session)
        case _:
            assert_never(kind)


def autoencoder(session: Session) -> Tokenizing:
    """DALL-E's: its tokens are to tell what the pixels are."""
    cfg, stream, settings = session.cfg, session.stream, session.cfg.tokenizer
    tokenizer = build_tokenizer(settings, has_decoder=True, seed=cfg.seed)
    reconstruct = Reconstruction(tokenizer)
    temperatures = anneal(*settings.temperature, steps=cfg.train.epochs * stream.batches_per_epoch)

    def batches(first: int, last: int) -> Iterator[MicroBatch]:
        made = train_views(stream, cfg, first=first, last=last)
        for number, views in enumerate(made, start=first):
            yield views.tokenizer_images, draw_gumbel(cfg, stream, number), temperatures[number]

    def judge(images_BCSS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tokens_BP, _, costs_B, errors_B = reconstruct(Tensor(images_BCSS))
        return tokens_BP.asnumpy(), np.stack([costs_B.asnumpy(), errors_B.asnumpy()])

    def draw(images_BCSS: np.ndarray, plots: Path) -> None:
        rebuilt = reconstruct(Tensor(images_BCSS))[1].asnumpy()
        rows = {"image": images_BCSS, "its tokens, decoded": rebuilt}
        plot_rows(rows, plots / "reconstruction.png")

    objective = Autoencoding(
        tokenizer, straight_through=settings.straight_through, kl_weight=settings.kl_weight
    )
    return Tokenizing(objective, batches, ("loss", "reconstruction_mse"), judge, draw)


def distilled(session: Session) -> Tokenizing:
    """BEiT v2's: its codes are to tell what a teacher sees."""
    cfg, stream, runtime = session.cfg, session.stream, session.runtime
    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    teacher = load_teacher(cfg.tokenizer, cfg.model, precision=precision, kind=cfg.checkpoint_kind)
    tokenizer = build_vqkd(cfg, feature_width=teacher.width, precision=precision)
    prepare_network(tokenizer, cfg.train)
    compare = Comparison(tokenizer)

    def batches(first: int, last: int) -> Iterator[MicroBatch]:
        made = train_views(stream, cfg, first=first, last=last)
        for number, (_, images_BCSS) in enumerate(made, start=first):
            if number == 0:  # of a run: one that is resumed has its codes
                rng = generator(cfg.seed, Stream.codes)
                place_codes(tokenizer, images_BCSS, gather=runtime.gather, rng=rng)
            yield images_BCSS, teacher(Tensor(images_BCSS)).asnumpy()

    def judge(images_BCSS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = Tensor(images_BCSS)
        distances_B, prices_B, tokens_BP, _ = (
            each.asnumpy() for each in compare(images, teacher(images))
        )
        found_MB = np.stack([distances_B + prices_B, distances_B, prices_B])
        return tokens_BP, found_MB

    objective = Distillation(tokenizer, decay=cfg.tokenizer.code_decay, ranks=runtime.size)
    metrics = ("loss", *objective.measures)
    return Tokenizing(objective, batches, metrics, judge, lambda images, plots: None)


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
