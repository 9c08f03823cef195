"""The other side of the performance table: timm, torch and onnxruntime at the same work, in an
environment of their own.

    pip install torch torchvision timm==1.0.31 onnxruntime
    python tests/benchmarks/timm_side.py WORK [--batch 8] [--repeats 5] [--compile]
        [--model beit_micro] [--onnx FILE] [--data FOLDER] [--workers 2]

WORK is step (float32), step-bf16 (autocast), inference, inference-bf16, onnx, train-data, eval-data
or weights. --compile does it by torch.compile. The model is one of timm's, or beit_micro, the
quickstart's. `onnx` takes our export of such weights as `weights` writes:

    python tests/benchmarks/timm_side.py weights --file beit.pth
    python launch.py task=export model=beit_base_patch16_224 checkpoint=beit.pth \\
        dataset=imagenet dataset.data_url=PATH export.formats=[onnx]

Prints JSON, the quartiles of the repeats as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import timm
import torch
import yaml
from timm.data import create_dataset, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.models.beit import Beit
from timm.optim import create_optimizer_v2

IMAGE_SIZE, CLASSES = 224, 1000
CONF = Path(__file__).resolve().parents[2] / "conf"
MICRO, DIGITS = "beit_micro", 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("--model", default="beit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--onnx", type=Path, help="our export, for the work onnx")
    parser.add_argument("--file", type=Path, help="where the work weights writes")
    parser.add_argument("--data")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.work == "weights":
        torch.save({"model": make_model(arguments).state_dict()}, arguments.file)
        return
    measured = {
        "step": step,
        "inference": inference,
        "onnx": onnx,
        "train-data": data,
        "eval-data": data,
    }
    found = measured[arguments.work.removesuffix("-bf16")](
        arguments, half=arguments.work.endswith("-bf16")
    )
    found["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"work": arguments.work, **found}))


def make_model(arguments: argparse.Namespace) -> torch.nn.Module:
    """Of timm's own name, or the quickstart's network by the settings of its file."""
    if arguments.model != MICRO:
        drop_path = {"drop_path_rate": 0.1} if arguments.work.startswith("step") else {}
        return timm.create_model(arguments.model, num_classes=CLASSES, **drop_path)
    cfg = yaml.safe_load((CONF / "model" / f"{MICRO}.yaml").read_text())
    return Beit(
        img_size=cfg["image_size"],
        patch_size=cfg["patch_size"],
        num_classes=DIGITS,
        embed_dim=cfg["embed_dim"],
        depth=cfg["depth"],
        num_heads=cfg["num_heads"],
        init_values=cfg["layer_scale_init_value"],
        use_abs_pos_emb=cfg["abs_pos_emb"],
        use_rel_pos_bias=True,
        drop_path_rate=cfg["drop_path_rate"],
    )


def make_inputs(arguments: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images, and soft targets."""
    if arguments.model == MICRO:
        size = yaml.safe_load((CONF / "model" / f"{MICRO}.yaml").read_text())["image_size"]
        classes = DIGITS
    else:
        size, classes = IMAGE_SIZE, CLASSES
    images = torch.randn(arguments.batch, 3, size, size)
    return images, torch.full((arguments.batch, classes), 1 / classes)


def step(arguments: argparse.Namespace, *, half: bool) -> dict[str, float]:
    model = make_model(arguments).train()
    optimizer = create_optimizer_v2(
        model, opt="adamw", lr=1e-5, weight_decay=0.05, layer_decay=0.85
    )
    loss_of = SoftTargetCrossEntropy()
    images, targets = make_inputs(arguments)
    forward = torch.compile(model) if arguments.compile else model

    def train() -> None:
        with autocast(half):
            loss = loss_of(forward(images), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return measure(train, arguments)


def inference(arguments: argparse.Namespace, *, half: bool) -> dict[str, float]:
    model = make_model(arguments).eval()
    images, _ = make_inputs(arguments)
    forward = torch.compile(model) if arguments.compile else model

    def infer() -> None:
        with torch.inference_mode(), autocast(half):
            forward(images)

    return measure(infer, arguments)


def onnx(arguments: argparse.Namespace, *, half: bool) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(arguments.onnx, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    images = np.random.default_rng(0).standard_normal(
        (arguments.batch, *entry.shape[1:]), dtype=np.float32
    )
    return measure(lambda: session.run(None, {entry.name: images}), arguments)


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

    return measure(read, arguments, images=lambda: count)


def autocast(half: bool) -> torch.autocast | nullcontext[None]:
    return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()


def measure(
    action: Callable[[], object],
    arguments: argparse.Namespace,
    *,
    images: Callable[[], int] | None = None,
) -> dict[str, float]:
    """Median and quartiles of the repeats, after two that warm up."""
    taken = []
    for _ in range(2 + arguments.repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    seconds = statistics.median(taken[2:])
    first, third = np.percentile(taken[2:], [25, 75]).tolist()
    count = arguments.batch if images is None else images()
    return {
        "median_s": seconds,
        "first_quartile_s": first,
        "third_quartile_s": third,
        "images_per_s": count / seconds,
    }


if __name__ == "__main__":
    main()
