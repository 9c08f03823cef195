"""Pre-training by masked image modelling: hide patches of an image, predict their visual tokens.

Sources: Bao et al., BEiT (arXiv 2106.08254); unilm/beit run_beit_pretraining.py and
engine_for_pretraining.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mindspore import Tensor

from beit_exp.config.schema import Config
from beit_exp.data.views import Views, eval_masks, eval_views, train_masks, train_views
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import fill_up, gather_exactly
from beit_exp.inference.monitor import make_neighbour_metric
from beit_exp.launch.following import finetuning_command
from beit_exp.launch.tokenizer_first import tokenizer_place
from beit_exp.model.beit import extra_blocks
from beit_exp.model.build import build_masked_model
from beit_exp.model.precision import build_precision
from beit_exp.model.visual_tokenizer import VisualTokenizer
from beit_exp.model.vqkd import VqkdTokenizer
from beit_exp.report.plots import hide, plot_rows, plot_usage
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import build_trainer, draw_keep, prepare_network
from beit_exp.train.loop import fit
from beit_exp.train.losses import MaskedPrediction, Reconstruction
from beit_exp.train.progress import Metrics, due
from beit_exp.train.session import CheckStop, open_session
from beit_exp.train.step import MicroBatch
from beit_exp.weights.tokenizer import load_tokenizer

SHOWN = 8
Tokenizer = VisualTokenizer | VqkdTokenizer


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """Train the network of `cfg`, or go on training it, and return its final metrics."""
    session = open_session(cfg, run_dir, runtime, tracker)
    stream, val_images = session.stream, session.val_images

    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    place = tokenizer_place(cfg, run_dir)
    tokenizer = load_tokenizer(
        cfg.tokenizer, cfg.model, place, precision=precision, kind=cfg.checkpoint_kind
    )
    vocabulary = cfg.tokenizer.vocabulary
    network = build_masked_model(
        cfg.model, cfg.mask, vocabulary=vocabulary, precision=precision, seed=cfg.seed
    )
    prepare_network(network, cfg.train)

    objective, steps_per_epoch = MaskedPrediction(network), stream.steps_per_epoch
    trainer = build_trainer(cfg, objective, steps_per_epoch=steps_per_epoch, ranks=runtime.size)

    def batches(first: int, last: int) -> Iterator[MicroBatch]:
        views = train_views(stream, cfg, first=first, last=last)
        masks = train_masks(stream, cfg, first=first, last=last)
        for number, (view, mask) in enumerate(zip(views, masks, strict=True), start=first):
            arrays = masked_batch(tokenizer, view, mask, cfg, cfg.train.batch_size)
            yield *arrays, draw_keep(cfg, stream, number, extra=extra_blocks(cfg.mask))

    def measure(check_stop: CheckStop) -> tuple[Metrics, None]:
        names = ("loss", *objective.measures)
        size, sums = min(cfg.train.batch_size, len(val_images)), np.zeros(1 + len(names))
        objective.set_train(False)
        views = eval_views(val_images, cfg, stream.shard)
        masks = eval_masks(val_images, cfg, stream.shard)
        for view, mask in zip(views, masks, strict=True):
            arrays = masked_batch(tokenizer, view, mask, cfg, size)
            found = [float(value.asnumpy()) for value in objective(*map(Tensor, arrays), None)]
            sums += np.array([1.0, *found]) * mask.sum()
            check_stop()
        totals = gather_exactly(sums, runtime.gather).sum(axis=0)
        metrics = dict(zip(names, (totals[1:] / totals[0]).tolist(), strict=True))
        every, epoch = cfg.probe.every_epochs, trainer.step // steps_per_epoch
        if every is not None and due(epoch, every, cfg.train.epochs):
            metrics |= measure_neighbours(check_stop)
        return metrics, None

    measure_neighbours = make_neighbour_metric(network, session)

    if runtime.is_leader:
        session.begin(weights=f"from scratch; tokens by {place}")
        views = next(train_views(stream, cfg, first=0, last=1))
        hidden = next(train_masks(stream, cfg, first=0, last=1))
        draw_batch(tokenizer, views, hidden, cfg, session.plots)

    validate = session.make_validate(trainer, measure)
    metrics = fit(session, trainer, batches=batches, validate=validate, facts={})
    if runtime.is_leader:
        following = f"fine-tune {finetuning_command(cfg, str(run_dir))}"
        session.finish(metrics, following=(following,))
    return metrics


def masked_batch(
    tokenizer: Tokenizer, views: Views, hidden_BGG: np.ndarray, cfg: Config, batch_size: int
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
    tokenizer: Tokenizer, views: Views, hidden_BGG: np.ndarray, cfg: Config, plots: Path
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
