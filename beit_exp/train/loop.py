"""The training loop: step, log, evaluate, save, from wherever the last checkpoint stands to the end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beit_exp.config import Config
from beit_exp.tracking import Interrupted, Tracker
from beit_exp.train.checkpoint import CheckpointFolder, restore
from beit_exp.train.progress import ProgressLine
from beit_exp.train.step import MicroBatch, Trainer
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
    tracker: Tracker,
) -> Metrics:
    """Train to the end and return the final metrics; `facts` go into every checkpoint.

    `batches(first, last)` yields the micro-batches of steps `first` to `last` - 1; `evaluate(check_stop)` measures
    the network as it is. A signal saves a checkpoint at the step reached and raises `Interrupted`.
    """
    folder = CheckpointFolder(run_dir / "checkpoints", keep=cfg.train.keep_checkpoints)
    total_steps = cfg.train.epochs * steps_per_epoch
    images_per_step = cfg.train.batch_size * cfg.train.accumulate_steps
    progress: dict[str, Any] = {"evaluated_step": 0, "last": {}, "best": {}}
    if (checkpoint := folder.load_newest()) is not None:
        restore(checkpoint, trainer.tensors())
        trainer.load_state(checkpoint.state["trainer"])
        progress = checkpoint.state["progress"]
        logger.info("resuming at step %d of %d from %s", trainer.step, total_steps, checkpoint.path)
    tracker.rewind(step=trainer.step)
    saved_step = trainer.step

    def save(*, is_best: bool) -> None:
        nonlocal saved_step
        state = {"trainer": trainer.state(), "progress": progress, **facts}
        folder.save(trainer.tensors(), state, step=trainer.step, is_best=is_best)
        saved_step = trainer.step

    with (
        listening() as stop,
        ProgressLine(first_step=trainer.step, total_steps=total_steps, epochs=cfg.train.epochs) as line,
    ):
        try:
            steps = batches(trainer.step, total_steps)
            is_first_step = True
            while True:
                step, epoch = trainer.step, trainer.step / steps_per_epoch
                epochs_done, steps_into_epoch = divmod(step, steps_per_epoch)
                at_epoch_end = step > 0 and steps_into_epoch == 0
                evaluate_due = at_epoch_end and due(epochs_done, cfg.train.eval_every_epochs, cfg.train.epochs)
                save_due = at_epoch_end and due(epochs_done, cfg.train.save_every_epochs, cfg.train.epochs)
                is_best = False
                if evaluate_due and progress["evaluated_step"] < step:
                    metrics = evaluate(stop.check)
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
                stop.check()

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
                            "train/grad_norm": result.grad_norm,
                            "train/skipped_steps": trainer.skipped_steps,
                            "optim/lr": result.lr,
                            "optim/loss_scale": result.loss_scale,
                            "time/step_s": step_s,
                            "time/data_s": data_s,
                            "time/images_per_s": images_per_step / step_s,
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
        except Interrupted:
            if saved_step < trainer.step:
                save(is_best=False)
            raise
    best = {f"best/{name}": value for name, value in progress["best"].items()}
    return {**progress["last"], **best, "step": total_steps, "epoch": cfg.train.epochs}


def due(count: int, every: int, total: int) -> bool:
    """Whether something done every so often is due now; at the end it always is."""
    return count % every == 0 or count == total


def is_better(metrics: Metrics, best: Metrics, *, objective: str) -> bool:
    """Whether an evaluation beats the best so far by the objective: accuracy upwards, loss downwards."""
    name = objective.removeprefix("best/")
    sign = -1 if name.endswith("loss") else 1
    value = metrics[name]
    return not best or (not math.isnan(value) and sign * value > sign * best[name])
