"""Fine-tuning, the experiment on one page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream, eval_batches, train_batches
from beit_exp.data.sources import ImageList, describe, open_split, training_images
from beit_exp.hardware.device import Runtime
from beit_exp.inference.evaluate import evaluate
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model, drop_path_keep
from beit_exp.model.precision import build_precision
from beit_exp.report.mistakes import plot_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE, Outcomes
from beit_exp.report.plots import plot_curves, plot_schedule
from beit_exp.report.sheets import draw_batch
from beit_exp.report.summary import summary
from beit_exp.tracking.mlflow_model import log_model
from beit_exp.tracking.records import read_records
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import build_trainer
from beit_exp.train.loop import fit
from beit_exp.train.losses import Classification
from beit_exp.train.step import MicroBatch, Trainer
from beit_exp.weights.load import load_pretrained

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finetuning:
    """What a step of fine-tuning is made of."""

    train_images: ImageList
    stream: TrainStream
    network: BEiT
    trainer: Trainer
    batches: Callable[[int, int], Iterator[list[MicroBatch]]]  # of steps `first` to `last` - 1


def build(cfg: Config, runtime: Runtime) -> Finetuning:
    """Everything that training needs, from data to optimizer; the benchmark measures the same."""
    train_images = training_images(cfg)
    stream = TrainStream(train_images, cfg, Shard(runtime.rank, runtime.size))

    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    network = build_model(
        cfg.model, num_classes=cfg.dataset.num_classes, precision=precision, seed=cfg.seed
    )
    if cfg.model.pretrained is not None:
        load_pretrained(network, cfg.model.pretrained)
    if cfg.train.recompute:
        for block in network.blocks:
            block.recompute()

    if cfg.train.freeze == "backbone":
        for parameter in network.get_parameters():
            parameter.requires_grad = parameter.name.startswith("head.")

    trainer = build_trainer(
        cfg, Classification(network), steps_per_epoch=stream.steps_per_epoch, ranks=runtime.size
    )

    def draw_keep(micro_step: int) -> np.ndarray | None:
        rate, depth = cfg.model.drop_path_rate, cfg.model.depth
        return drop_path_keep(
            rate, depth=depth, seed=cfg.seed, micro_step=micro_step, slots=stream.slots
        )

    def batches(first_step: int, last_step: int) -> Iterator[list[MicroBatch]]:
        micro_steps = cfg.train.accumulate_steps
        micro_batches = train_batches(
            stream, cfg, first=first_step * micro_steps, last=last_step * micro_steps
        )
        for step in range(first_step, last_step):
            numbers = range(step * micro_steps, (step + 1) * micro_steps)
            yield [
                (images, targets, draw_keep(number))
                for number, (images, targets) in zip(numbers, micro_batches, strict=False)
            ]

    return Finetuning(train_images, stream, network, trainer, batches)


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """Train the network of `cfg`, or go on training it, and return its final metrics."""
    setup = build(cfg, runtime)
    trainer, stream, train_images = setup.trainer, setup.stream, setup.train_images
    val_images = open_split(cfg.dataset, "val")

    def validate(check_stop: Callable[[], None]) -> dict[str, float]:
        def measure() -> tuple[dict[str, float], Outcomes]:
            data = eval_batches(val_images, cfg, stream.shard)
            size = min(cfg.train.batch_size, len(val_images))
            return evaluate(
                setup.network, data, batch_size=size, gather=runtime.gather, check_stop=check_stop
            )

        found, outcomes = measure()
        metrics = {f"val/{name}": value for name, value in found.items()}
        if runtime.is_leader:
            outcomes.save(run_dir / OUTCOMES_FILE)
        if cfg.train.ema_decay is not None:
            with trainer.averaged_weights():
                metrics |= {f"val/ema_{name}": value for name, value in measure()[0].items()}
        trainer.set_train()
        return metrics

    plots = run_dir / "plots"
    if runtime.is_leader:
        splits = (("training", train_images), ("validation", val_images))
        name, source = cfg.dataset.name, cfg.dataset.data_url
        tracker.log_facts(
            datasets=[describe(part, name=name, source=source, context=use) for use, part in splits]
        )
        groups, steps_per_epoch = trainer.optimizer.groups, stream.steps_per_epoch
        plot_schedule(
            trainer.schedule, groups, steps_per_epoch=steps_per_epoch, path=plots / "schedule.png"
        )
        sample = next(train_batches(stream, cfg, first=0, last=1))[0]
        draw_batch(sample, mean=cfg.dataset.mean, std=cfg.dataset.std, path=plots / "batch.png")

    metrics = fit(
        trainer,
        cfg,
        steps_per_epoch=stream.steps_per_epoch,
        batches=setup.batches,
        evaluate=validate,
        facts={"classes": train_images.classes, "config": cfg.model_dump()},
        run_dir=run_dir,
        runtime=runtime,
        tracker=tracker,
    )
    metrics["data/bad_images"] = len(stream.bad_images)
    if not runtime.is_leader:
        return metrics

    records = read_records(run_dir / "metrics.jsonl")
    plot_curves({run_dir.name: records}, plots / "curves.png")
    plot_outcomes(Outcomes.load(run_dir / OUTCOMES_FILE), val_images, plots)
    for path in sorted(plots.glob("*.png")):
        tracker.log_file(path, folder="plots")
    if cfg.tracking.log_checkpoint:
        tracker.log_file(run_dir / "checkpoints" / "best.safetensors", folder="checkpoints")
    if cfg.tracking.log_model is not None:
        tracker.upload(lambda client, run_id: log_model(client, run_id, cfg, run_dir))
    following = [f"evaluate  python launch.py task=evaluate checkpoint={run_dir}"]
    if cfg.dataset.name == "digits":
        following.append(
            "ImageNet  python launch.py experiment=imagenet_base dataset.data_url=/path/to/imagenet"
        )
    logger.info(
        "%s",
        summary(
            metrics, records, run_dir=run_dir, uri=str(cfg.tracking.uri), following=tuple(following)
        ),
    )
    return metrics
