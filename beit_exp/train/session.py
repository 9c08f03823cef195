"""What every training does around its own network and loop: open the data, measure, and tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.description import describe
from beit_exp.data.listing import ImageList
from beit_exp.data.pool import Pool
from beit_exp.data.sources import few_of_each, open_splits
from beit_exp.hardware.device import Runtime, device_name
from beit_exp.report.page import write_report
from beit_exp.report.plots import plot_curves, plot_schedule
from beit_exp.report.runs import read_directory
from beit_exp.report.summary import summary
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.agreement import check_same_images
from beit_exp.train.opening import opening
from beit_exp.train.progress import Metrics
from beit_exp.train.split_file import keep_split
from beit_exp.train.step import Trainer

logger = logging.getLogger(__name__)

CheckStop = Callable[[], None]  # raises `Interrupted` if a signal has come
Details = TypeVar("Details")


@dataclass(frozen=True)
class Session:
    """One training: its settings, its place on disk and among the ranks, its images."""

    cfg: Config
    run_dir: Path
    runtime: Runtime
    tracker: Tracker
    train_images: ImageList
    val_images: ImageList
    test_images: ImageList | None
    pool: Pool | None  # of which the splits were made, unless the data set brings them
    stream: TrainStream

    @property
    def plots(self) -> Path:
        return self.run_dir / "plots"

    def begin(self, *, weights: str) -> None:
        """Say what begins, from which `weights`; keep which images there are.

        `UserError` if a run that is resumed had other images.
        """
        splits = {"training": self.train_images, "validation": self.val_images}
        splits |= {} if self.test_images is None else {"test": self.test_images}
        text = opening(
            self.cfg,
            device=device_name(self.runtime),
            images={use: len(images) for use, images in splits.items()},
            weights=weights,
            steps_per_epoch=self.stream.steps_per_epoch,
            ranks=self.runtime.size,
        )
        logger.info("%s", text)
        name, source = self.cfg.dataset.name, self.cfg.dataset.data_url
        if self.pool is not None:
            is_begun = any(self.run_dir.glob("checkpoints/step_*"))
            digest = keep_split(self.pool, self.run_dir, is_begun=is_begun)
            self.tracker.log_facts(tags={"data.split_digest": digest})
        self.tracker.log_facts(
            datasets=[
                describe(images, name=name, source=source, context=use)
                for use, images in splits.items()
            ]
        )

    def draw_schedule(self, trainer: Trainer) -> None:
        """A picture of the learning rates to come."""
        plot_schedule(
            trainer.schedule,
            trainer.optimizer.groups,
            steps_per_epoch=self.stream.steps_per_epoch,
            path=self.plots / "schedule.png",
        )

    def make_validate(
        self,
        trainer: Trainer,
        measure: Callable[[CheckStop], tuple[Metrics, Details]],
        *,
        keep: Callable[[Details], None] = lambda _: None,
    ) -> Callable[[CheckStop], Metrics]:
        """The `val/...` metrics of the network as it is and, as `val/ema_...`, of its average.

        `measure` returns metrics, and details of the network's own that the leader is to `keep`.
        """

        def validate(check_stop: CheckStop) -> Metrics:
            found, details = measure(check_stop)
            metrics = {f"val/{name}": value for name, value in found.items()}
            if self.runtime.is_leader:
                self.tracker.sync()  # says so where the directory is gone, which `keep` would make
                keep(details)
            if self.cfg.train.ema_decay is not None:
                with trainer.averaged_weights():
                    found, _ = measure(check_stop)
                metrics |= {f"val/ema_{name}": value for name, value in found.items()}
            trainer.set_train()
            return metrics

        return validate

    def finish(
        self,
        metrics: Metrics,
        *,
        following: tuple[str, ...],
        classes: Sequence[Sequence[Any]] = (),
    ) -> None:
        """Draw the curves and the page, send the pictures, and say the result, also of `classes`,
        and the commands `following` it.
        """
        done = replace(read_directory(self.run_dir), status="finished")
        plot_curves({self.run_dir.name: done.records}, self.plots / "curves.png")
        page = write_report([done], self.run_dir / "report", title=self.run_dir.name)
        self.tracker.log_file(page, folder="report")
        for path in sorted(self.plots.glob("*.png")):
            self.tracker.log_file(path, folder="plots")
        if self.cfg.tracking.log_checkpoint:
            best = self.run_dir / "checkpoints" / "best.safetensors"
            self.tracker.log_file(best, folder="checkpoints")
        text = summary(
            metrics,
            done.records,
            run_dir=self.run_dir,
            page=page,
            uri=str(self.cfg.tracking.uri),
            following=following,
            classes=classes,
            images=self.count_held_out(),
        )
        logger.info("%s", text)

    def count_held_out(self) -> dict[str, int]:
        """Images in `val` and, if there is one, `test`."""
        counts = {"val": len(self.val_images)}
        return counts if self.test_images is None else {**counts, "test": len(self.test_images)}


def open_session(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Session:
    """The images of a training, in the order that its seed gives them."""
    splits = open_splits(cfg)
    train_images = few_of_each(splits.train, cfg)
    check_same_images("training", train_images, runtime)
    check_same_images("validation", splits.val, runtime)
    return Session(
        cfg,
        run_dir,
        runtime,
        tracker,
        train_images=train_images,
        val_images=splits.val,
        test_images=splits.test,
        pool=splits.pool,
        stream=TrainStream(train_images, cfg, Shard(runtime.rank, runtime.size)),
    )
