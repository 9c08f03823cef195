"""What a person sees of a run: one moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)
# Of the last evaluation, the first that it has
SCORES = {
    "val/top1": "val top-1",
    "val/map": "val mAP",
    "val/knn_top1": "val k-NN top-1",
    "val/masked_accuracy": "val hidden tokens found",
}
AT_THE_END = ("balanced_accuracy", "macro_f1", "micro_f1")  # the summary has them, and the records


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Epoch, step, loss, accuracy, speed and remaining time of a training run."""

    def __init__(self, *, first_step: int, total_steps: int, epochs: int, objective: str) -> None:
        self.total_steps = total_steps
        self.epochs = epochs
        self.objective = objective
        self.score = ""
        self.line = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=True),
            disable=not sys.stdout.isatty(),
            transient=True,
        )
        self.task = self.line.add_task("starting", total=total_steps, completed=first_step)

    def __enter__(self) -> ProgressLine:
        self.line.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.line.stop()

    def show_step(
        self, *, step: int, epoch: float, loss: float, lr: float, images_per_s: float, log: bool
    ) -> None:
        """After a step; `log` says whether a plain line is due."""
        place = f"epoch {epoch:.1f}/{self.epochs}  step {step}/{self.total_steps}"
        text = f"{place}  loss {loss:.4f}{self.score}"
        speed = (
            f"{images_per_s:.0f} images/s" if images_per_s >= 10 else f"{images_per_s:.2f} images/s"
        )
        self.line.update(self.task, completed=step, description=f"{text}  {speed}")
        if log and self.line.disable:
            left_s = 0.0 if images_per_s == 0 else self.line.tasks[0].time_remaining or 0.0
            eta = f"{left_s // 3600:.0f}:{left_s % 3600 // 60:02.0f}:{left_s % 60:02.0f}"
            logger.info("%s  lr %.3g  %s  ETA %s", text, lr, speed, eta)

    def show_evaluation(self, *, epoch: float, metrics: dict[str, float], is_best: bool) -> None:
        """After an evaluation: a line that stays."""
        shown = [(text, metrics[name]) for name, text in SCORES.items() if name in metrics]
        self.score = f"  {shown[0][0]} {shown[0][1]:.2f}" if shown else ""
        values = "  ".join(
            f"{name} {value:.4f}"
            for name, value in metrics.items()
            if not name.endswith(AT_THE_END) or name == self.objective
        )
        logger.info("epoch %g/%d  %s%s", epoch, self.epochs, values, "  (best)" if is_best else "")
