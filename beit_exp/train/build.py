"""From settings to what a training is made of: prepared network, trainer, draws of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from mindspore import Tensor, nn

from beit_exp.config.schema import Config, TrainConfig
from beit_exp.data.build import TrainStream, train_batches
from beit_exp.data.labels import count_classes
from beit_exp.model.beit import BEiT, Block, MaskedBEiT
from beit_exp.model.build import drop_path_keep
from beit_exp.model.vqkd import VqkdTokenizer
from beit_exp.optim.schedule import build_schedule, build_weight_decays
from beit_exp.optim.update import build_optimizer
from beit_exp.train.loss_scale import build_loss_scale
from beit_exp.train.losses import Classification, MultiLabelClassification
from beit_exp.train.step import MicroBatch, Trainer


def start_head(network: BEiT, cfg: Config, labels: np.ndarray) -> None:
    """Of several labels an image, let a new head begin with what the classes' shares of the
    training images tell; else the first epochs would go into learning that labels are rare.

    Source: Lin et al. (arXiv 1708.02002), section 4.1, whose prior is one number for all classes.
    Fifteen epochs of the quickstart's digits as such labels reach a val/map of 94, else of 33.
    """
    if cfg.dataset.multi_label:
        network.head.bias.set_data(Tensor(log_odds(cfg, labels)))


def log_odds(cfg: Config, labels: np.ndarray) -> np.ndarray:
    """(K,) float32 logits that cost the least, without a focal loss, of those that are the same for
    every image.
    """
    classes, smoothing = cfg.dataset.num_classes, cfg.augment.label_smoothing
    seen = sound_counts(labels, classes) / len(labels)
    targets = seen * (1 - smoothing) + smoothing / 2
    weights = positive_weights(cfg.train.class_weights, labels, num_classes=classes)
    return np.log(weights * targets / (1 - targets)).astype(np.float32)


def prepare_network(network: BEiT | MaskedBEiT | VqkdTokenizer, cfg: TrainConfig) -> None:
    """Freeze what is not to learn, and let blocks be computed again in the backward pass."""
    if cfg.recompute:
        for _, cell in network.cells_and_names():
            if isinstance(cell, Block):
                cell.recompute()
    if cfg.freeze == "backbone":
        for parameter in network.get_parameters():
            parameter.requires_grad = parameter.name.startswith("head.")


def build_trainer(cfg: Config, objective: nn.Cell, *, steps_per_epoch: int, ranks: int) -> Trainer:
    """A trainer of every trainable parameter of the objective."""
    schedule = build_schedule(
        cfg.scheduler,
        peak_lr=cfg.optimizer.base_lr,
        epochs=cfg.train.epochs,
        steps_per_epoch=steps_per_epoch,
    )
    return Trainer(
        objective,
        build_optimizer(cfg.optimizer, objective, depth=cfg.model.depth),
        cfg.train,
        schedule=schedule,
        weight_decays=build_weight_decays(cfg.optimizer, total_steps=len(schedule)),
        loss_scale=build_loss_scale(cfg.hardware),
        clip_norm=cfg.optimizer.clip_global_norm_value,
        ranks=ranks,
    )


def draw_keep(
    cfg: Config, stream: TrainStream, number: int, *, extra: range = range(0)
) -> np.ndarray | None:
    """(L + E, 2, B) what drop-path keeps of micro-batch `number`, in the network's blocks and
    `extra` ones beside them; None where it drops nothing.
    """
    return drop_path_keep(
        cfg.model.drop_path_rate,
        depth=cfg.model.depth,
        seed=cfg.seed,
        micro_step=number,
        slots=stream.slots,
        extra=extra,
    )


def build_objective(cfg: Config, network: BEiT, labels: np.ndarray) -> nn.Cell:
    """The network with its loss, for training images with these labels."""
    gamma = cfg.train.focal_gamma
    if not cfg.dataset.multi_label:
        return Classification(network, focal_gamma=gamma)
    classes = cfg.dataset.num_classes
    weights = positive_weights(cfg.train.class_weights, labels, num_classes=classes)
    return MultiLabelClassification(network, positive_weights=weights, focal_gamma=gamma)


def make_labelled_batches(
    cfg: Config, stream: TrainStream
) -> Callable[[int, int], Iterator[MicroBatch]]:
    """What fine-tuning feeds: images, soft targets and drop-path draws, a micro-batch each."""
    # Of several labels an image, the loss weighs each class by itself
    choice = None if cfg.dataset.multi_label else cfg.train.class_weights
    weights = class_weights(choice, stream.images.labels, num_classes=cfg.dataset.num_classes)
    smoothing = cfg.augment.label_smoothing

    def batches(first: int, last: int) -> Iterator[MicroBatch]:
        made = train_batches(stream, cfg, first=first, last=last)
        for number, (images, targets) in enumerate(made, start=first):
            if weights is not None:
                targets = weighted(targets, weights, smoothing=smoothing)
            yield images, targets, draw_keep(cfg, stream, number)

    return batches


def class_weights(
    choice: Literal["balanced"] | list[float] | None, labels: np.ndarray, *, num_classes: int
) -> np.ndarray | None:
    """(K,) float32 factors of the loss by class; None for none.

    `balanced` is N / (K · images of the class), as scikit-learn's `compute_class_weight` has it; a
    class without images weighs nothing.
    """
    if choice is None:
        return None
    if choice == "balanced":
        counts = np.bincount(labels, minlength=num_classes)
        found = len(labels) / (num_classes * np.maximum(counts, 1)) * (counts > 0)
        return found.astype(np.float32)
    return np.array(choice, np.float32)


def positive_weights(
    choice: Literal["balanced"] | list[float] | None, labels: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """(K,) float32 factors of what it costs that a class is missed, of (N, K) labels.

    `balanced` is images without the class / images with it, as torch's `BCEWithLogitsLoss` advises
    for its `pos_weight`: both then weigh the same.
    """
    if choice is None:
        return np.ones(num_classes, np.float32)
    if choice == "balanced":
        counts = sound_counts(labels, num_classes)
        return ((len(labels) - counts) / counts).astype(np.float32)
    return np.array(choice, np.float32)


def sound_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) images of each class; a label of all images, or of none, counts as if half of one were
    otherwise: its odds are finite.
    """
    return np.clip(count_classes(labels, num_classes), 0.5, len(labels) - 0.5)


def weighted(targets_BK: np.ndarray, weights_K: np.ndarray, *, smoothing: float) -> np.ndarray:
    """Soft targets by which the loss of an image is weighted by its class, of mixed images by that
    of each part.

    The loss is linear in the targets. What smoothing spread over all classes is weighted by the
    image's own: weighted by theirs, rare classes would be right for every image.
    """
    even = smoothing / len(weights_K)
    own_BK = (targets_BK - even) / (1 - smoothing) * weights_K
    spread_B1 = own_BK.sum(axis=1, keepdims=True) * even
    return ((1 - smoothing) * own_BK + spread_B1).astype(np.float32)
