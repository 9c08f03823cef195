"""The other side of the performance table: timm and torch at the same work, in an environment of
their own.

    pip install torch torchvision timm==1.0.31
    python tests/benchmarks/timm_side.py WORK [--batch 8] [--repeats 5] [--data FOLDER] [--workers
    2]

WORK is step (float32), step-bf16 (autocast), inference, inference-bf16, train-data or eval-data.
Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2

IMAGE_SIZE, CLASSES = 224, 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("--model", default="beit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    measured = {"step": step, "inference": inference, "train-data": data, "eval-data": data}
    found = measured[arguments.work.removesuffix("-bf16")](
        arguments, half=arguments.work.endswith("-bf16")
    )
    found["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"work": arguments.work, **found}))


def step(arguments: argparse.Namespace, *, half: bool) -> dict[str, float]:
    model = timm.create_model(arguments.model, num_classes=CLASSES, drop_path_rate=0.1).train()
    optimizer = create_optimizer_v2(
        model, opt="adamw", lr=1e-5, weight_decay=0.05, layer_decay=0.85
    )
    loss_of = SoftTargetCrossEntropy()
    images = torch.randn(arguments.batch, 3, IMAGE_SIZE, IMAGE_SIZE)
    targets = torch.full((arguments.batch, CLASSES), 1 / CLASSES)

    def train() -> None:
        with autocast(half):
            loss = loss_of(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    seconds = timed(train, repeats=arguments.repeats)
    return {"median_s": seconds, "images_per_s": arguments.batch / seconds}


def inference(arguments: argparse.Namespace, *, half: bool) -> dict[str, float]:
    model = timm.create_model(arguments.model, num_classes=CLASSES).eval()
    images = torch.randn(arguments.batch, 3, IMAGE_SIZE, IMAGE_SIZE)

    def infer() -> None:
        with torch.inference_mode(), autocast(half):
            model(images)

    seconds = timed(infer, repeats=arguments.repeats)
    return {"median_s": seconds, "images_per_s": arguments.batch / seconds}


def data(arguments: argparse.Namespace, *, half: bool) -> dict[str, float]:
    is_training = arguments.work == "train-data"
    dataset = create_dataset(
        "", arguments.data, split="train" if is_training else "val", is_training=is_training
    )
    augment = (
        {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25, "re_mode": "pixel"}
        if is_training
        else {}
    )
    loader = create_loader(
        dataset,
        input_size=(3, IMAGE_SIZE, IMAGE_SIZE),
        batch_size=arguments.batch,
        is_training=is_training,
        interpolation="bicubic",
        crop_pct=0.875,
        num_workers=arguments.workers,
        use_prefetcher=False,
        persistent_workers=True,
        **augment,
    )
    count = 0

    def read() -> None:
        nonlocal count
        count = sum(len(images) for images, _ in loader)

    seconds = timed(read, repeats=arguments.repeats)
    return {"median_s": seconds, "images_per_s": count / seconds}


def autocast(half: bool) -> torch.autocast | nullcontext[None]:
    return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()


def timed(action: Callable[[], None], *, repeats: int) -> float:
    """Median seconds of `repeats` calls after two that warm up."""
    taken = []
    for _ in range(2 + repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
