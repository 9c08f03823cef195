"""Both sides at the same work, one after the other, as a table in Markdown.

    python tests/benchmarks/make_photographs.py /tmp/photographs
    python tests/benchmarks/compare.py OTHER_PYTHON /tmp/photographs [--rounds 5] [--only pipeline]
        [--onnx EXPORT]

OTHER_PYTHON is that of an environment with torch, torchvision, timm 1.0.31 and Pillow 12 (timm
fails on Pillow 13), and onnxruntime for the rows with --onnx. Numbers are medians of five in each
round, and medians of the rounds; a ratio is the median of those of each round, in which the two
sides are measured one right after the other, with the least and the largest.
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
    is_quickstart: bool = False  # else the ImageNet recipe on photographs
    is_onnx: bool = False


STEP = ("train.batch_size=8", "benchmark.warm_up=2", "benchmark.repeats=5")
PLAIN = (
    "hardware=cpu",
    "hardware.amp_level=O0",
    "hardware.is_dynamic_loss_scale=false",
    "hardware.loss_scale=1.0",
)
DATA = ("train.batch_size=64", "benchmark.data_batches=8", "benchmark.repeats=5", "model.depth=1")
WORKS = (
    Work(
        "training step, O0",
        "step_images_per_s",
        (
            *STEP,
            "benchmark.parts=[step]",
            *PLAIN,
        ),
        ("step",),
    ),
    *(
        Work(
            f"quickstart's step, batch 64{beside}",
            "step_images_per_s",
            ("hardware=cpu", "benchmark.parts=[step]", "benchmark.repeats=20"),
            ("step", "--model", "beit_micro", "--batch", "64", "--repeats", "20", *more),
            is_quickstart=True,
        )
        for beside, more in ((", timm eager", ()), (", timm compiled", ("--compile",)))
    ),
    *(
        Work(
            f"inference, float32, batch {batch}, {other}",
            "inference_images_per_s",
            (
                *PLAIN,
                "benchmark.parts=[inference]",
                "benchmark.repeats=5",
                f"train.batch_size={batch}",
            ),
            (*theirs, "--batch", str(batch)),
            is_onnx=other == "onnxruntime",
        )
        for other, theirs in (
            ("timm compiled", ("inference", "--compile")),
            ("onnxruntime", ("onnx",)),
        )
        for batch in (1, 8, 64)
    ),
    *(
        Work(
            f"inference, O1, batch {batch}, timm under bfloat16 autocast{compiled}",
            "inference_images_per_s",
            (
                "hardware=cpu",
                "hardware.amp_level=O1",
                "benchmark.parts=[inference]",
                "benchmark.repeats=5",
                f"train.batch_size={batch}",
            ),
            ("inference-bf16", "--batch", str(batch), *more),
        )
        for compiled, more in (("", ()), (" and torch.compile", ("--compile",)))
        for batch in (1, 8, 64)
    ),
    *(
        Work(
            f"training step, O1{beside}",
            "step_images_per_s",
            (*STEP, "benchmark.parts=[step]", "hardware=cpu", "hardware.amp_level=O1"),
            (f"step{suffix}",),
        )
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
        recipe = (
            "experiment=imagenet_base",
            "dataset.name=image_folder",
            f"dataset.data_url={photographs}",
            "dataset.num_classes=10",
        )
        command = [sys.executable, str(LAUNCH), "task=benchmark", "hydra.run.dir=run"]
        if not work.is_quickstart:
            command += recipe
        subprocess.run([*command, *work.ours], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    return metrics[f"benchmark/{work.metric}"], metrics.get("benchmark/peak_memory_gb")


def measure_theirs(
    work: Work, python: str, photographs: Path, onnx: Path | None
) -> tuple[float, float]:
    """-> images/s and peak memory in GB."""
    command = [python, str(HERE / "timm_side.py"), *work.theirs, "--data", str(photographs)]
    command += ["--onnx", str(onnx)] if work.is_onnx else []
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(out.splitlines()[-1])
    return found["images_per_s"], found["peak_memory_gb"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the names of the works wanted")
    parser.add_argument("--onnx", type=Path, help="a BEiT-base by task=export")
    arguments = parser.parse_args()
    print("| work | images/s | other | ratio | least to largest | peak memory | other |")
    print("|---|---|---|---|---|---|---|", flush=True)
    photographs = arguments.photographs.resolve()
    for work in (work for work in WORKS if arguments.only in work.name):
        if work.is_onnx and arguments.onnx is None:
            continue
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(measure_ours(work, photographs))
            theirs.append(measure_theirs(work, arguments.python, photographs, arguments.onnx))
        print(row(work.name, ours, theirs), flush=True)


def row(
    name: str, ours: list[tuple[float, float | None]], theirs: list[tuple[float, float]]
) -> str:
    """A line of the table: medians of the rounds, and the spread of their ratios."""
    ratios = [mine / other for (mine, _), (other, _) in zip(ours, theirs, strict=True)]
    speed, other_speed = (statistics.median(each[0] for each in side) for side in (ours, theirs))
    memory = f"{ours[0][1]:.2f} GB | {theirs[0][1]:.2f} GB" if ours[0][1] is not None else "|"
    return (
        f"| {name} | {speed:.3g} | {other_speed:.3g} | {statistics.median(ratios):.2f} | "
        f"{min(ratios):.2f} to {max(ratios):.2f} | {memory} |"
    )


if __name__ == "__main__":
    main()
