"""Steps of training: one that overflows, those of several ranks, and how long they take."""

from __future__ import annotations

import math
import statistics

import mindspore as ms
import numpy as np

from beit_exp.config.schema import Config
from beit_exp.data.mixup import soft_targets
from beit_exp.hardware.device import Runtime
from beit_exp.hardware.memory import peak_memory_gb
from beit_exp.model.build import build_model, drop_path_keep
from beit_exp.model.peak import timed
from beit_exp.model.precision import Precision
from beit_exp.optim.update import build_optimizer
from beit_exp.self_check.golden import ALLOWED, Reference
from beit_exp.self_check.line import Outcome
from beit_exp.train.agreement import unlike_ranks
from beit_exp.train.build import build_trainer
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.losses import Classification
from beit_exp.train.step import MicroBatch, Trainer

LEARNING_RATE = 1e-3
GOOD_SCALE = 1024.0
TOO_LARGE = 3e38  # the loss itself overflows float32
TOO_LARGE_FOR_FLOAT16 = 2.0**30  # the loss fits, its gradients do not
STEPS_OF_RANKS = 3
WARM_UP, REPEATS = 3, 10


def build_small_trainer(
    reference: Reference, cfg: Config, precision: Precision, *, ranks: int
) -> Trainer:
    """The trainer of a run, for the network of the golden values."""
    objective = Classification(reference.build(precision))
    return Trainer(
        objective,
        build_optimizer(cfg.optimizer, objective, depth=reference.cfg.depth),
        cfg.train,
        schedule=np.full(1 + STEPS_OF_RANKS, LEARNING_RATE),
        weight_decays=np.full(1 + STEPS_OF_RANKS, cfg.optimizer.weight_decay),
        loss_scale=LossScale(GOOD_SCALE, True, 1000),
        clip_norm=cfg.optimizer.clip_global_norm_value,
        ranks=ranks,
    )


def check_overflow(
    reference: Reference, cfg: Config, runtime: Runtime, precision: Precision
) -> Outcome:
    """One rank overflows: no rank may change anything, and the next step learns again."""
    trainer = build_small_trainer(reference, cfg, precision, ranks=runtime.size)
    scales = [TOO_LARGE]
    if precision.product == ms.float16:
        scales.append(TOO_LARGE_FOR_FLOAT16)
    rank = runtime.size - 1
    wrong = []
    for scale in scales:
        trainer.loss_scale.value = scale if runtime.rank == rank else GOOD_SCALE
        before = weights_of(trainer)
        result = trainer([(reference.images, reference.targets, None)])
        if result.finite:
            wrong.append(f"a step at a loss scale of {scale:.1e} was not skipped")
        elif not same_arrays(weights_of(trainer), before):
            wrong.append(f"a skipped step at a loss scale of {scale:.1e} changed weights")
        elif trainer.loss_scale.value != result.loss_scale / 2:
            wrong.append(f"the loss scale became {trainer.loss_scale.value:.1e}")
    trainer.loss_scale.value = GOOD_SCALE
    before = weights_of(trainer)
    result = trainer([(reference.images, reference.targets, None)])
    if not result.finite or same_arrays(weights_of(trainer), before):
        wrong.append("the step after it learned nothing")
    where = f" on rank {rank} alone" if runtime.size > 1 else ""
    forced = " and ".join(f"{scale:.1e}" for scale in scales)
    seen = f"loss scale {forced}{where}: skipped and halved; the next step learned"
    return Outcome(not wrong, "; ".join(wrong) or seen)


def check_ranks(
    reference: Reference, cfg: Config, runtime: Runtime, precision: Precision, *, operands: str
) -> Outcome:
    """Ranks train on images of their own: equal norms and weights, and the gradient of all images.

    One process with everybody's images says what that is.
    """
    if runtime.size == 1:
        return Outcome(None, "one process: nothing to compare")
    trainer = build_small_trainer(reference, cfg, precision, ranks=runtime.size)
    alone = build_small_trainer(reference, cfg, precision, ranks=1)
    batches = [random_batch(reference, seed=rank) for rank in range(runtime.size)]
    images, targets = (np.concatenate(each) for each in zip(*batches, strict=True))
    expected = alone([(images, targets, None)])
    norms = [trainer([(*batches[runtime.rank], None)]).grad_norm for _ in range(STEPS_OF_RANKS)]
    all_norms = runtime.gather(np.array(norms))
    other_norms = [rank for rank, row in enumerate(all_norms) if (row != all_norms[0]).any()]
    other_weights = unlike_ranks(trainer, runtime)
    share = norms[0] / expected.grad_norm if expected.grad_norm else math.nan
    difference = abs(share - 1)
    most = ALLOWED[operands][1]
    wrong = []
    if other_norms:
        wrong.append(f"rank {_listed(other_norms)} has other gradient norms than rank 0")
    if other_weights:
        wrong.append(f"rank {_listed(other_weights)} holds other weights than rank 0")
    if not difference <= most:
        wrong.append(
            f"the gradient norm is {norms[0]:.6g}, of one process {expected.grad_norm:.6g}"
        )
    seen = (
        f"{runtime.size} hold equal norms and weights after {STEPS_OF_RANKS} steps; the norm is "
        f"that of one process within {difference:.1e} (at most {most:.0e})"
    )
    return Outcome(not wrong, "; ".join(wrong) or seen)


def time_steps(cfg: Config, runtime: Runtime, precision: Precision) -> Outcome:
    """How long a step takes of the network of `cfg`, on random images."""
    classes, batch, side = cfg.dataset.num_classes, cfg.train.batch_size, cfg.model.image_size
    network = build_model(cfg.model, num_classes=classes, precision=precision, seed=0)
    trainer = build_trainer(
        cfg, Classification(network), steps_per_epoch=1 + WARM_UP + REPEATS, ranks=runtime.size
    )
    rng = np.random.default_rng(runtime.rank)
    images = rng.standard_normal((batch, 3, side, side), dtype=np.float32)
    targets = soft_targets(rng.integers(classes, size=batch), num_classes=classes, smoothing=0.1)
    keep = drop_path_keep(
        cfg.model.drop_path_rate,
        depth=cfg.model.depth,
        seed=0,
        micro_step=0,
        slots=np.arange(batch),
    )
    micro_batch: MicroBatch = (images, targets, keep)
    (compile_s,) = timed(lambda: trainer([micro_batch]), warm_up=0, repeats=1)
    seconds = timed(lambda: trainer([micro_batch]), warm_up=WARM_UP, repeats=REPEATS)
    step_s = statistics.median(seconds)
    images_per_s = batch * runtime.size / step_s
    seen = (
        f"{1000 * step_s:.1f} ms ({1000 * min(seconds):.1f} to {1000 * max(seconds):.1f}), "
        f"{images_per_s:.0f} images/s: {cfg.model.arch}, {runtime.size} x {batch} images; "
        f"{peak_memory_gb(runtime):.1f} GB, compiled in {compile_s:.0f} s"
    )
    return Outcome(None, seen)


def weights_of(trainer: Trainer) -> list[np.ndarray]:
    """Everything that a step may change."""
    return [parameter.asnumpy().copy() for parameter in trainer.tensors().values()]


def same_arrays(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def random_batch(reference: Reference, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and targets of the golden batch's shape."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal(reference.images.shape, dtype=np.float32)
    return images, rng.permutation(reference.targets)


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))
