"""Both sides at the same work, one after the other, as a table in Markdown.

    python tests/benchmarks/make_photographs.py /tmp/photographs
    python tests/benchmarks/compare.py OTHER_PYTHON /tmp/photographs [--rounds 1] [--only pipeline]

OTHER_PYTHON is that of an environment with torch, torchvision, timm 1.0.31 and Pillow 12 (timm
fails on Pillow 13). Numbers are medians of five in each round, and medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
LAUNCH = HERE.parent.parent / "launch.py"


class Work(NamedTuple):
    """What each side is asked for; `metric` is ours."""

    name: str
    metric: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


STEP = ("train.batch_size=8", "benchmark.warm_up=2", "benchmark.repeats=5")
DATA = ("train.batch_size=64", "benchmark.data_batches=8", "benchmark.repeats=5", "model.depth=1")
WORKS = (
    Work(
        "training step, O0",
        "step_images_per_s",
        (
            *STEP,
            "benchmark.parts=[step]",
            "hardware=cpu",
            "hardware.amp_level=O0",
            "hardware.is_dynamic_loss_scale=false",
            "hardware.loss_scale=1.0",
        ),
        ("step",),
    ),
    *(
        Work(
            f"{name}, O1{beside}",
            f"{part}_images_per_s",
            (*STEP, f"benchmark.parts=[{part}]", "hardware=cpu", "hardware.amp_level=O1"),
            (f"{part}{suffix}",),
        )
        for name, part in (("training step", "step"), ("inference", "inference"))
        for beside, suffix in (("", ""), (", timm under bfloat16 autocast", "-bf16"))
    ),
    *(
        Work(
            f"{name} pipeline, {workers} worker{'s' * (workers > 1)}",
            f"{part}_images_per_s",
            (
                *DATA,
                f"benchmark.parts=[{part}]",
                "hardware=cpu",
                f"hardware.num_parallel_workers={workers}",
            ),
            (part.replace("_", "-"), "--batch", "64", "--workers", str(workers)),
        )
        for name, part in (("training", "train_data"), ("evaluation", "eval_data"))
        for workers in (1, 2)
    ),
)


def measure_ours(work: Work, photographs: Path) -> tuple[float, float | None]:
    """-> images/s, and the peak memory in GB where the part tells it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            str(LAUNCH),
            "task=benchmark",
            "experiment=imagenet_base",
            "hydra.run.dir=run",
        ]
        data = [
            "dataset.name=image_folder",
            f"dataset.data_url={photographs}",
            "dataset.num_classes=10",
        ]
        subprocess.run(
            [*command, *data, *work.ours], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    return metrics[f"benchmark/{work.metric}"], metrics.get("benchmark/peak_memory_gb")


def measure_theirs(work: Work, python: str, photographs: Path) -> tuple[float, float]:
    """-> images/s and peak memory in GB."""
    command = [python, str(HERE / "timm_side.py"), *work.theirs, "--data", str(photographs)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(out.splitlines()[-1])
    return found["images_per_s"], found["peak_memory_gb"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the names of the works wanted")
    arguments = parser.parse_args()
    print(
        "| work | images/s | timm | ratio | peak memory | timm |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for work in (work for work in WORKS if arguments.only in work.name):
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(measure_ours(work, arguments.photographs.resolve()))
            theirs.append(measure_theirs(work, arguments.python, arguments.photographs.resolve()))
        speed = statistics.median(speed for speed, _ in ours)
        other_speed = statistics.median(speed for speed, _ in theirs)
        memory = f"{ours[0][1]:.2f} GB | {theirs[0][1]:.2f} GB" if ours[0][1] is not None else "|"
        print(
            f"| {work.name} | {speed:.3g} | {other_speed:.3g} | {speed / other_speed:.2f} | "
            f"{memory} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
