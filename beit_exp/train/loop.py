"""The training loop: step, log, evaluate, save, from wherever the last checkpoint stands to the
end.
"""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.config.schema import Config
from beit_exp.errors import DivergedError, Interrupted
from beit_exp.hardware.device import Runtime
from beit_exp.storage.remote import mirroring
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.checkpoint import CheckpointFolder, restore
from beit_exp.train.meter import SystemMeter
from beit_exp.train.progress import ProgressLine
from beit_exp.train.step import MicroBatch, StepResult, Trainer
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)

Metrics = dict[str, float]


def fit(
    trainer: Trainer,
    cfg: Config,
    *,
    steps_per_epoch: int,
    batches: Callable[[int, int], Iterator[list[MicroBatch]]],
    evaluate: Callable[[Callable[[], None]], Metrics],
    facts: dict[str, Any],
    run_dir: Path,
    runtime: Runtime,
    tracker: Tracker,
) -> Metrics:
    """Train to the end and return the final metrics; `facts` go into every checkpoint.

    `batches(first, last)` yields the micro-batches of steps `first` to `last` - 1;
    `evaluate(check_stop)` measures the network as it is. A signal saves a checkpoint at the step
    reached and raises `Interrupted`; training that has diverged raises `DivergedError`.
    """
    measure_system = SystemMeter(run_dir)
    folder = CheckpointFolder(run_dir / "checkpoints", keep=cfg.train.keep_checkpoints)
    total_steps = cfg.train.epochs * steps_per_epoch
    images_per_step = cfg.train.batch_size * cfg.train.accumulate_steps * runtime.size
    progress: dict[str, Any] = {
        "evaluated_step": 0,
        "last": {},
        "best": {},
        "skipped_in_a_row": 0,
        "records": 0,
    }
    if runtime.is_leader:
        folder.clear_litter()
    if (checkpoint := folder.load_newest()) is not None:
        restore(checkpoint, trainer.tensors())
        trainer.load_state(checkpoint.state["trainer"])
        progress = checkpoint.state["progress"]
        logger.info("resuming at step %d of %d from %s", trainer.step, total_steps, checkpoint.path)
    check_same_weights(trainer, runtime)
    tracker.rewind(progress["records"])
    saved_step = trainer.step

    def save(*, is_best: bool) -> None:
        nonlocal saved_step
        check_same_weights(trainer, runtime)
        if runtime.is_leader:
            progress["records"] = tracker.records
            state = {"trainer": trainer.state(), "progress": progress, **facts}
            path = folder.save(trainer.tensors(), state, step=trainer.step, is_best=is_best)
            mirror.put(path)
        saved_step = trainer.step

    with (
        listening() as stop,
        mirroring(cfg.train.checkpoint_url) as mirror,
        ProgressLine(
            first_step=trainer.step, total_steps=total_steps, epochs=cfg.train.epochs
        ) as line,
    ):
        try:
            steps = batches(trainer.step, total_steps)
            is_first_step = True
            while True:
                step, epoch = trainer.step, trainer.step / steps_per_epoch
                epochs_done, steps_into_epoch = divmod(step, steps_per_epoch)
                at_epoch_end = step > 0 and steps_into_epoch == 0
                evaluate_due = at_epoch_end and due(
                    epochs_done, cfg.train.eval_every_epochs, cfg.train.epochs
                )
                save_due = at_epoch_end and due(
                    epochs_done, cfg.train.save_every_epochs, cfg.train.epochs
                )
                is_best = False
                if evaluate_due and progress["evaluated_step"] < step:
                    metrics = evaluate(stop.check if runtime.size == 1 else lambda: None)
                    is_best = is_better(metrics, progress["best"], objective=cfg.objective)
                    progress["evaluated_step"], progress["last"] = step, metrics
                    if is_best:
                        progress["best"] = {**metrics, "epoch": epoch, "step": step}
                    tracker.log(metrics, step=step, epoch=epoch)
                    line.show_evaluation(epoch=epoch, metrics=metrics, is_best=is_best)
                if is_best or (save_due and saved_step < step):
                    save(is_best=is_best)
                if step >= total_steps:
                    break
                stop.check(agree=runtime.gather)

                started = time.perf_counter()
                micro_batches = next(steps)
                data_s = time.perf_counter() - started
                result = trainer(micro_batches)
                step_s = time.perf_counter() - started
                step, epoch = trainer.step, trainer.step / steps_per_epoch
                log_due = due(step, cfg.train.log_every_steps, total_steps)
                if is_first_step:
                    tracker.log({"time/compile_s": step_s - data_s}, step=step, epoch=epoch)
                if log_due:
                    tracker.log(
                        {
                            "train/loss": result.loss,
                            **{f"train/{name}": value for name, value in result.measures.items()},
                            "train/grad_norm": result.grad_norm,
                            "train/skipped_steps": trainer.skipped_steps,
                            "optim/lr": result.lr,
                            "optim/loss_scale": result.loss_scale,
                            "time/step_s": step_s,
                            "time/data_s": data_s,
                            "time/images_per_s": images_per_step / step_s,
                            **(measure_system() if cfg.tracking.system_metrics else {}),
                        },
                        step=step,
                        epoch=epoch,
                    )
                line.show_step(
                    step=step,
                    epoch=epoch,
                    loss=result.loss,
                    lr=result.lr,
                    images_per_s=images_per_step / step_s,
                    log=log_due,
                )
                is_first_step = False
                progress["skipped_in_a_row"] = (
                    0 if result.finite else progress["skipped_in_a_row"] + 1
                )
                check_divergence(result, trainer, progress, cfg, folder)
        except Interrupted:
            if saved_step < trainer.step:
                save(is_best=False)
            raise
    best = {f"best/{name}": value for name, value in progress["best"].items()}
    return {**progress["last"], **best, "step": total_steps, "epoch": cfg.train.epochs}


def check_divergence(
    result: StepResult,
    trainer: Trainer,
    progress: dict[str, Any],
    cfg: Config,
    folder: CheckpointFolder,
) -> None:
    """Stop a training whose gradients are not finite though nothing scales them, or too often in a
    row.
    """
    skipped = progress["skipped_in_a_row"]
    is_hopeless = not result.finite and result.loss_scale == 1
    if not is_hopeless and skipped < cfg.hardware.max_skipped_steps:
        return
    why = (
        "with a loss scale of 1"
        if is_hopeless
        else f"in {skipped} steps in a row (hardware.max_skipped_steps)"
    )
    first = trainer.step - skipped + 1
    last_good = next((str(path) for path in folder.newest_first()), "none")
    raise DivergedError(
        f"training has diverged: loss {result.loss:g}, gradient norm {result.grad_norm:g} {why}; "
        f"steps {first} to "
        f"{trainer.step} changed nothing. The last good checkpoint is {last_good}. A lower "
        "optimizer.base_lr, a longer "
        "scheduler.warmup_length or a smaller optimizer.clip_global_norm_value may help"
    )


def check_same_weights(trainer: Trainer, runtime: Runtime) -> None:
    """All ranks must hold the same network, bit for bit, or they train different ones without a
    word.
    """
    if runtime.size == 1:
        return
    digest = 0
    for name, parameter in trainer.tensors().items():
        digest = zlib.crc32(parameter.asnumpy().tobytes(), zlib.crc32(name.encode(), digest))
    # 16 bits are exact in float32
    halves = runtime.gather(np.array([digest >> 16, digest & 0xFFFF]))
    unlike = [str(rank) for rank, row in enumerate(halves) if (row != halves[0]).any()]
    if unlike:
        raise RuntimeError(
            f"at step {trainer.step} rank {', '.join(unlike)} holds other weights than rank 0"
        )


def due(count: int, every: int, total: int) -> bool:
    """Whether something done every so often is due now; at the end it always is."""
    return count % every == 0 or count == total


def is_better(metrics: Metrics, best: Metrics, *, objective: str) -> bool:
    """Whether an evaluation beats the best so far by the objective: accuracy upwards, loss
    downwards.
    """
    name = objective.removeprefix("best/")
    sign = -1 if name.endswith("loss") else 1
    value = metrics[name]
    return not best or (not math.isnan(value) and sign * value > sign * best[name])
