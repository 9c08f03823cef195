"""How fast this machine trains, infers and reads images, and what it could do at most."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

import psutil
from typing_extensions import assert_never

from beit_exp.config.schema import BenchmarkPart, Config
from beit_exp.data.build import Shard, TrainStream, eval_batches, num_threads, train_batches
from beit_exp.data.sources import open_split, training_images
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime, device_name
from beit_exp.hardware.environment import environment_tags
from beit_exp.hardware.memory import peak_memory_gb
from beit_exp.hardware.processor import measuring_others
from beit_exp.inference.evaluate import predict_batches
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.operations.choice import kept_weights
from beit_exp.model.peak import shares_of_peak, timed
from beit_exp.model.precision import build_precision
from beit_exp.report import timings
from beit_exp.report.timings import Pair
from beit_exp.storage.files import write_atomically
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import (
    build_objective,
    build_trainer,
    make_labelled_batches,
    prepare_network,
)
from beit_exp.train.host_update import HostUpdate
from beit_exp.train.memory import computed_bytes
from beit_exp.train.step import MicroBatch, Trainer
from beit_exp.weights.load import load_pretrained

logger = logging.getLogger(__name__)

Metrics = dict[str, float]
Seconds = dict[str, list[float]]  # part -> what each repeat took


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """-> `benchmark/...` metrics: medians over `benchmark.repeats`, after a warm-up.

    `benchmark.json` holds every repeat.
    """
    setup = build(cfg, runtime)
    check_steps(cfg, setup)
    seconds: Seconds = {}
    with measuring_others() as others:
        found = measure(cfg, runtime, setup, seconds)
    found["other_load_cores"] = others.cores
    spread = timings.quartiles(found, seconds)
    pairs = measure_pairs(cfg, runtime, setup) if cfg.benchmark.against is not None else []
    found |= timings.compare_pairs(pairs) if pairs else {}
    metrics = {f"benchmark/{name}": value for name, value in found.items()}
    if not runtime.is_leader:
        return metrics
    tracker.log(metrics, step=0, epoch=0)
    report = {
        "device": device_name(runtime),
        "processor": timings.describe_processor(),
        "environment": environment_tags(),
        "metrics": metrics,
        "quartiles": {f"benchmark/{name}": span for name, span in spread.items()},
        "is_quiet": others.is_quiet,
        "seconds": seconds,
        "pairs": [pair._asdict() for pair in pairs],
        "config": cfg.model_dump(),
    }
    write_atomically(run_dir / "benchmark.json", json.dumps(report, indent=1).encode())
    tracker.log_file(run_dir / "benchmark.json")
    timings.tell(
        cfg, report, timings.timing_table(title(cfg, runtime), found, spread), run_dir=run_dir
    )
    return metrics


@dataclass(frozen=True)
class Finetuning:
    """What a step of fine-tuning is made of."""

    stream: TrainStream
    network: BEiT
    trainer: Trainer
    batches: Callable[[int, int], Iterator[list[MicroBatch]]]  # of steps `first` to `last` - 1


def build(cfg: Config, runtime: Runtime) -> Finetuning:
    """The parts of `task=finetune`, put together as it does."""
    stream = TrainStream(training_images(cfg), cfg, Shard(runtime.rank, runtime.size))
    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    classes = cfg.dataset.num_classes
    network = build_model(cfg.model, num_classes=classes, precision=precision, seed=cfg.seed)
    if cfg.model.pretrained is not None:
        kind, multi_label = cfg.checkpoint_kind, cfg.dataset.multi_label
        load_pretrained(network, cfg.model.pretrained, kind=kind, multi_label=multi_label)
    prepare_network(network, cfg.train)
    objective = build_objective(cfg, network, stream.images.labels)
    steps_per_epoch = stream.steps_per_epoch
    trainer = build_trainer(cfg, objective, steps_per_epoch=steps_per_epoch, ranks=runtime.size)

    def batches(first: int, last: int) -> Iterator[list[MicroBatch]]:
        size = cfg.train.accumulate_steps
        micro_batches = make_labelled_batches(cfg, stream)(first * size, last * size)
        while batch := list(islice(micro_batches, size)):
            yield batch

    return Finetuning(stream, network, trainer, batches)


def measure(cfg: Config, runtime: Runtime, setup: Finetuning, seconds: Seconds) -> Metrics:
    """The parts asked for; the step comes first, so that the peak memory is that of training."""
    wanted = cfg.benchmark.parts
    found: Metrics = {}
    for part in sorted(wanted, key=get_args(BenchmarkPart).index):
        found |= measure_part(part, cfg, runtime, setup, seconds)
    if "step" in wanted or "inference" in wanted:
        step_images = setup.stream.global_batch * cfg.train.accumulate_steps // runtime.size
        found |= shares_of_peak(
            cfg, found, half=runtime.half, ranks=runtime.size, step_images=step_images
        )
    return found


def measure_part(
    part: BenchmarkPart, cfg: Config, runtime: Runtime, setup: Finetuning, seconds: Seconds
) -> Metrics:
    """One part by itself."""
    match part:
        case "step":
            return measure_step(cfg, runtime, setup, seconds)
        case "update":
            return measure_update(cfg, setup, seconds)
        case "training":
            return measure_training(cfg, setup, seconds)
        case "inference":
            return measure_inference(cfg, runtime, setup, seconds)
        case "train_data":
            return measure_train_data(cfg, setup, seconds)
        case "eval_data":
            return measure_eval_data(cfg, setup, seconds)
        case _:
            assert_never(part)


def measure_pairs(cfg: Config, runtime: Runtime, setup: Finetuning) -> list[Pair]:
    """The first part and the other command in turn, so that both see the machine alike."""
    part, pairs = cfg.benchmark.parts[0], []
    for number in range(1, cfg.benchmark.rounds + 1):
        theirs = timings.measure_other(str(cfg.benchmark.against))
        ours = measure_part(part, cfg, runtime, setup, {})[f"{part}_images_per_s"]
        pairs.append(Pair(ours, theirs))
        logger.info("pair %d    %.4g images/s, the other %.4g", number, *pairs[-1])
    return pairs


def check_steps(cfg: Config, setup: Finetuning) -> None:
    """The schedule must reach as far as the steps taken."""
    pairs = 0 if cfg.benchmark.against is None else cfg.benchmark.rounds
    needed = (2 + pairs) * (1 + cfg.benchmark.warm_up + cfg.benchmark.repeats)
    if needed > len(setup.trainer.schedule):
        raise UserError(
            f"benchmark.repeats = {cfg.benchmark.repeats}: {needed} training steps are taken, "
            "but train.epochs = "
            f"{cfg.train.epochs} on these images are {len(setup.trainer.schedule)}; raise "
            "train.epochs"
        )


def repeated(cfg: Config, action: Callable[[], object]) -> list[float]:
    """Seconds of each repeat, after the warm-up."""
    return timed(action, warm_up=cfg.benchmark.warm_up, repeats=cfg.benchmark.repeats)


def measure_step(cfg: Config, runtime: Runtime, setup: Finetuning, seconds: Seconds) -> Metrics:
    """The same micro-batches again and again: what the device does, apart from reading images."""
    micro_batches = next(setup.batches(0, 1))
    started = time.perf_counter()
    setup.trainer(micro_batches)
    first_s = time.perf_counter() - started
    since_start = time.time() - psutil.Process().create_time()
    seconds["step"] = repeated(cfg, lambda: setup.trainer(micro_batches))
    step_s = statistics.median(seconds["step"])
    return {
        "step_s": step_s,
        "step_images_per_s": setup.stream.global_batch * cfg.train.accumulate_steps / step_s,
        "compile_s": first_s - step_s,
        "start_to_first_step_s": since_start,
        "peak_memory_gb": peak_memory_gb(runtime),
        "computed_memory_gb": computed_bytes(cfg, half=runtime.half) / 1e9,
    }


def measure_update(cfg: Config, setup: Finetuning, seconds: Seconds) -> Metrics:
    """The update alone; where compiled code does it on a CPU, also what the memory it goes through
    takes by itself.
    """
    trainer = setup.trainer
    _, gradients = trainer.backward(next(setup.batches(0, 1)))
    rates_3P = trainer.optimizer.rates(0.0, 0.0, updates_done=0)

    def update() -> None:
        trainer.update(1.0, rates_3P, gradients)
        trainer.gradients.weights[0].asnumpy()  # waits for the device

    seconds["update"] = repeated(cfg, update)
    found = {"update_s": statistics.median(seconds["update"])}
    if isinstance(trainer.update, HostUpdate):
        read_and_write = trainer.update.read_and_write
        seconds["update_memory"] = repeated(cfg, lambda: read_and_write(gradients))
        found["update_memory_s"] = statistics.median(seconds["update_memory"])
    return found


def measure_training(cfg: Config, setup: Finetuning, seconds: Seconds) -> Metrics:
    """Steps on the batches that the input pipeline makes meanwhile, and the wait for these."""
    first = setup.trainer.step
    ready = first + 1 + cfg.benchmark.warm_up  # compiled, and the pipeline full
    waits, totals = [], []
    batches = setup.batches(first, ready + cfg.benchmark.repeats)
    for step in range(first, ready + cfg.benchmark.repeats):
        started = time.perf_counter()
        micro_batches = next(batches)
        waited_s = time.perf_counter() - started
        setup.trainer(micro_batches)
        if step >= ready:
            waits.append(waited_s)
            totals.append(time.perf_counter() - started)
    seconds["training"], seconds["training_wait"] = totals, waits
    images = setup.stream.global_batch * cfg.train.accumulate_steps
    return {
        "training_images_per_s": images / statistics.median(totals),
        "data_wait_percent": 100 * sum(waits) / sum(totals),
    }


def measure_inference(
    cfg: Config, runtime: Runtime, setup: Finetuning, seconds: Seconds
) -> Metrics:
    """The logits of the same images again and again."""
    images, labels = next(train_batches(setup.stream, cfg, first=0, last=1))
    batch_size = cfg.train.batch_size
    with kept_weights():
        seconds["inference"] = timed(
            lambda: list(predict_batches(setup.network, [(images, labels)], batch_size=batch_size)),
            warm_up=1 + cfg.benchmark.warm_up,
            repeats=cfg.benchmark.repeats,
        )
    inference_s = statistics.median(seconds["inference"])
    return {"inference_images_per_s": runtime.size * batch_size / inference_s}


def measure_train_data(cfg: Config, setup: Finetuning, seconds: Seconds) -> Metrics:
    """Training images read and augmented, and nothing else, by all reading threads and by one."""
    threads = num_threads(cfg.hardware.num_parallel_workers)
    batches = -(-cfg.benchmark.data_batches // threads)  # of each thread

    def read(part: str, number: int) -> float:
        hardware = cfg.hardware.model_copy(update={"num_parallel_workers": number})
        own, last = cfg.model_copy(update={"hardware": hardware}), batches * number
        seconds[part] = timed(
            lambda: deque(train_batches(setup.stream, own, first=0, last=last), maxlen=0),
            warm_up=1,
            repeats=cfg.benchmark.repeats,
        )
        return statistics.median(seconds[part])

    all_s = read("train_data", threads)
    found = {"train_data_images_per_s": batches * threads * setup.stream.global_batch / all_s}
    if threads > 1:
        found["train_data_thread_percent"] = 100 * read("train_data_one_thread", 1) / all_s
    return found


def measure_eval_data(cfg: Config, setup: Finetuning, seconds: Seconds) -> Metrics:
    """Validation images read, and nothing else."""
    images, shard, repeats = open_split(cfg, "val"), setup.stream.shard, cfg.benchmark.repeats
    seconds["eval_data"] = timed(
        lambda: deque(eval_batches(images, cfg, shard), maxlen=0), warm_up=1, repeats=repeats
    )
    return {"eval_data_images_per_s": len(images) / statistics.median(seconds["eval_data"])}


def title(cfg: Config, runtime: Runtime) -> str:
    """Whose timings a table holds."""
    network, device = f"{cfg.model.arch}, {cfg.model.image_size} px", device_name(runtime)
    return f"{network}, batch {cfg.train.batch_size}, {cfg.hardware.amp_level}, {device}"
