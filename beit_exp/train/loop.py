"""The training loop: step, log, evaluate, save, from where the last checkpoint stands on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np

from beit_exp.config.command_line import module_command
from beit_exp.config.objective import metric_of
from beit_exp.errors import DivergedError, Interrupted
from beit_exp.storage.mirror import Mirror, mirroring
from beit_exp.train.agreement import check_same_weights
from beit_exp.train.checkpoint import CheckpointFolder, restore
from beit_exp.train.meter import SystemMeter
from beit_exp.train.progress import Metrics, Progress, due
from beit_exp.train.progress_line import ProgressLine
from beit_exp.train.pruning import PRUNED_TAG, is_hopeless
from beit_exp.train.session import CheckStop, Session
from beit_exp.train.step import MicroBatch, StepResult, Trainer
from beit_exp.train.stop import listening

logger = logging.getLogger(__name__)


def fit(
    session: Session,
    trainer: Trainer,
    *,
    batches: Callable[[int, int], Iterator[MicroBatch]],
    validate: Callable[[CheckStop], Metrics],
    facts: dict[str, Any],
    illustrate: Callable[[], None] = lambda: None,
) -> Metrics:
    """Train to the end and return the final metrics; `facts` go into every checkpoint.

    What begins is drawn after the first step, which need not wait for it, by `illustrate()` also;
    `batches(first, last)` yields the micro-batches number `first` to `last` - 1 of the run;
    `validate(check_stop)` measures the network as it is. A signal saves a checkpoint at the step
    reached and raises `Interrupted`; training that has diverged raises `DivergedError`.
    """
    cfg, url = session.cfg, session.cfg.train.checkpoint_url
    way_out = module_command("report", "sync", session.run_dir)
    with listening() as stop, mirroring(url, way_out=way_out) as mirror:
        loop = Loop(session, trainer, mirror, facts)
        loop.resume()
        check_stop = stop.check if session.runtime.size == 1 else lambda: None
        micro_steps = cfg.train.accumulate_steps
        micro_batches = batches(trainer.step * micro_steps, loop.total_steps * micro_steps)
        with ProgressLine(
            first_step=trainer.step,
            total_steps=loop.total_steps,
            epochs=cfg.train.epochs,
            objective=cfg.objective,
        ) as line:
            try:
                while True:
                    is_best = False
                    if loop.is_evaluation_due():
                        is_best = loop.evaluate(validate, check_stop, line)
                    if is_best or loop.is_save_due():
                        loop.save(is_best=is_best)
                    if loop.is_over():
                        break
                    check_stop()
                    result = loop.take_step(micro_batches, line, wants_stop=stop.is_asked)
                    if trainer.step == loop.first_step + 1 and session.runtime.is_leader:
                        session.draw_schedule(trainer)
                        illustrate()
                    if result.wants_stop:
                        raise Interrupted(stop.number)
            except Interrupted:
                if loop.saved_step < trainer.step:
                    loop.save(is_best=False)
                raise
    if trainer.step < loop.total_steps:
        logger.info("%s", loop.why_early())
        if loop.is_pruned:
            session.tracker.log_facts(tags={PRUNED_TAG: "true"})
    bad_images = len(session.stream.bad_images)
    place = {"step": trainer.step, "epoch": loop.epoch, "data/bad_images": bad_images}
    return loop.progress.final_metrics() | place


class Loop:
    """A training under way: the parts that its steps share, and how far it has come."""

    def __init__(
        self, session: Session, trainer: Trainer, mirror: Mirror, facts: dict[str, Any]
    ) -> None:
        cfg = session.cfg
        self.cfg = cfg
        self.runtime = session.runtime
        self.tracker = session.tracker
        self.run_dir = session.run_dir
        self.trainer = trainer
        self.mirror = mirror
        self.facts = {**facts, "config": cfg.model_dump()}
        self.steps_per_epoch = session.stream.steps_per_epoch
        self.total_steps = cfg.train.epochs * self.steps_per_epoch
        self.images_per_step = session.stream.global_batch * cfg.train.accumulate_steps
        self.folder = CheckpointFolder(
            session.run_dir / "checkpoints", keep=cfg.train.keep_checkpoints
        )
        self.progress = Progress()
        self.first_step = self.saved_step = 0  # where this process began, and what is on disk
        self.measure_system = SystemMeter(session.run_dir)

    @property
    def epoch(self) -> float:
        """Epochs done, with the share of the one under way."""
        return self.trainer.step / self.steps_per_epoch

    def resume(self) -> None:
        """Go to where the newest checkpoint stands, if there is one."""
        if self.runtime.is_leader:
            self.folder.clear_litter()
        if (checkpoint := self.folder.load_newest()) is not None:
            restore(checkpoint, self.trainer.tensors())
            self.trainer.load_state(checkpoint.state["trainer"])
            self.progress = Progress(**checkpoint.state["progress"])
            is_best = self.progress.best.get("step") == self.trainer.step
            if is_best and self.runtime.is_leader:  # a kill may have come before it was named so
                self.folder.name_best(checkpoint.path)
            logger.info(
                "resuming at step %d of %d from %s",
                self.trainer.step,
                self.total_steps,
                checkpoint.path,
            )
        check_same_weights(self.trainer, self.runtime)
        self.tracker.rewind(self.progress.records)
        self.saved_step = self.first_step = self.trainer.step

    def is_over(self) -> bool:
        """Whether all steps are taken, `train.patience` evaluations have bettered nothing, or
        `train.prune_after` has found the run hopeless.
        """
        patience = self.cfg.train.patience
        has_waited = patience is not None and self.progress.fruitless >= patience
        return has_waited or self.is_pruned or self.trainer.step >= self.total_steps

    @property
    def is_pruned(self) -> bool:
        """Whether the run was found hopeless, unless that is no longer asked for."""
        return self.progress.is_pruned and self.cfg.train.prune_after is not None

    def why_early(self) -> str:
        """What ended the training before its last epoch."""
        metric = metric_of(self.cfg.objective)
        if self.is_pruned:
            return (
                f"{metric} is worse than the median of the finished jobs at epoch {self.epoch:g}: "
                "the training ends (train.prune_after)"
            )
        fruitless = self.progress.fruitless
        return (
            f"{fruitless} evaluations without a better {metric}: the training ends (train.patience)"
        )

    def is_evaluation_due(self) -> bool:
        """Whether this is the end of an epoch to be evaluated, and nobody has done it."""
        is_new = self.progress.evaluated_step < self.trainer.step
        return is_new and self.is_epoch_end(every=self.cfg.train.eval_every_epochs)

    def is_save_due(self) -> bool:
        """Whether this is the end, or that of an epoch to be saved, and it is not."""
        is_new = self.saved_step < self.trainer.step
        every = self.cfg.train.save_every_epochs
        return is_new and (self.is_over() or self.is_epoch_end(every=every))

    def is_epoch_end(self, *, every: int) -> bool:
        epochs, steps_into_epoch = divmod(self.trainer.step, self.steps_per_epoch)
        return epochs > 0 and steps_into_epoch == 0 and due(epochs, every, self.cfg.train.epochs)

    def evaluate(
        self, validate: Callable[[CheckStop], Metrics], check_stop: CheckStop, line: ProgressLine
    ) -> bool:
        """Measure the network, log it, and return whether it is the best so far."""
        metrics = validate(check_stop)
        found = {**metrics, "epoch": self.epoch, "step": self.trainer.step}
        is_best = self.progress.add_evaluation(metrics, found, objective=self.cfg.objective)
        best = {f"best/{name}": value for name, value in metrics.items()} if is_best else {}
        self.log(metrics | best)
        self.progress.is_pruned = self.is_hopeless()
        line.show_evaluation(epoch=self.epoch, metrics=metrics, is_best=is_best)
        return is_best

    def is_hopeless(self) -> bool:
        """Whether the leader finds the run hopeless among the jobs of its sweep."""
        after = self.cfg.train.prune_after
        if after is None or self.trainer.step >= self.total_steps:
            return False
        found = self.runtime.is_leader and is_hopeless(
            self.run_dir, objective=self.cfg.objective, after=after
        )
        return bool(self.runtime.gather(np.array([float(found)]))[0, 0])

    def save(self, *, is_best: bool) -> None:
        """Write a checkpoint of this step, once all ranks hold the same weights."""
        check_same_weights(self.trainer, self.runtime)
        if self.runtime.is_leader:
            self.tracker.sync()
            self.progress.records = self.tracker.records
            progress = asdict(self.progress)
            state = {"trainer": self.trainer.state(), "progress": progress, **self.facts}
            tensors, step = self.trainer.tensors(), self.trainer.step
            self.mirror.put(self.folder.save(tensors, state, step=step, is_best=is_best))
        self.saved_step = self.trainer.step

    def take_step(
        self, micro_batches: Iterator[MicroBatch], line: ProgressLine, *, wants_stop: bool
    ) -> StepResult:
        """One step on the next micro-batches, logged where that is due."""
        started = time.perf_counter()
        batch = list(islice(micro_batches, self.cfg.train.accumulate_steps))
        data_s = time.perf_counter() - started
        if self.trainer.step == self.first_step:
            logger.info("compiling the network")
        result = self.trainer(batch, wants_stop=wants_stop)
        step_s = time.perf_counter() - started
        step = self.trainer.step
        is_log_due = due(step, self.cfg.train.log_every_steps, self.total_steps)
        if step == self.first_step + 1:
            logger.info("compiled in %.1f s", step_s - data_s)
            self.log({"time/compile_s": step_s - data_s})
        if is_log_due:
            self.log_step(result, step_s=step_s, data_s=data_s)
        line.show_step(
            step=step,
            epoch=self.epoch,
            loss=result.loss,
            lr=result.lr,
            images_per_s=self.images_per_step / step_s,
            log=is_log_due,
        )
        skipped = 0 if result.finite else self.progress.skipped_in_a_row + 1
        self.progress.skipped_in_a_row = skipped
        self.check_divergence(result)
        return result

    def log_step(self, result: StepResult, *, step_s: float, data_s: float) -> None:
        metrics = {
            "train/loss": result.loss,
            **{f"train/{name}": value for name, value in result.measures.items()},
            "train/grad_norm": result.grad_norm,
            "train/skipped_steps": self.trainer.skipped_steps,
            "optim/lr": result.lr,
            "optim/loss_scale": result.loss_scale,
            "time/step_s": step_s,
            "time/data_s": data_s,
            "time/images_per_s": self.images_per_step / step_s,
        }
        if self.cfg.tracking.system_metrics:
            metrics |= self.measure_system()
        self.log(metrics)

    def log(self, metrics: Metrics) -> None:
        """A record of the step reached."""
        self.tracker.log(metrics, step=self.trainer.step, epoch=self.epoch)

    def check_divergence(self, result: StepResult) -> None:
        """Stop where gradients are not finite though nothing scales them, or too often in a row."""
        skipped, step = self.progress.skipped_in_a_row, self.trainer.step
        is_hopeless = not math.isfinite(result.grad_norm) and result.loss_scale == 1
        if not is_hopeless and skipped < self.cfg.hardware.max_skipped_steps:
            return
        often = f"in {skipped} steps in a row (hardware.max_skipped_steps)"
        why = "with a loss scale of 1" if is_hopeless else often
        last_good = next((str(path) for path in self.folder.newest_first()), "none")
        raise DivergedError(
            f"training has diverged: loss {result.loss:g}, gradient norm {result.grad_norm:g} "
            f"{why}; steps {step - skipped + 1} to {step} changed nothing. The last good "
            f"checkpoint is {last_good}. A lower optimizer.base_lr, a longer "
            "scheduler.warmup_length or a smaller optimizer.clip_global_norm_value may help"
        )
