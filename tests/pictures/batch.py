"""The way of a batch, from files to the tracking store."""

from __future__ import annotations

from beit_exp.train.gradients import BUCKET_BYTES
from pictures.diagram import Diagram
from pictures.palette import Palette

WIDTH, HEIGHT = 720, 1016
LEFT, BROAD = 20, 680  # of the boxes that all else lies in


def draw(palette: Palette) -> str:
    """The SVG of a step of fine-tuning (`beit_exp/tasks/finetune.py`)."""
    picture = Diagram(palette, WIDTH, HEIGHT, "The way of a batch")
    _data(picture)
    _step(picture)
    _records(picture)
    return picture.svg()


def _heading(
    picture: Diagram, y: float, text: str, where: str, *, left: float = LEFT, right: float = 700
) -> None:
    picture.text(left, y, text, anchor="start", bold=True, size=16)
    picture.text(right, y, where, anchor="end", size=13, color=picture.palette.muted)


def _data(picture: Diagram) -> None:
    _heading(picture, 22, "Host: reading threads", "beit_exp/data/")
    picture.box(LEFT, 34, BROAD, 236, tone="blue")
    for y, words in (
        (
            58,
            "One thread makes one whole batch; one batch more than there are threads is under way.",
        ),
        (
            78,
            "Compiled decoding and augmentation (libjpeg, numba) need no lock of the interpreter.",
        ),
    ):
        picture.text(360, y, words, size=13, color=picture.palette.muted)
    picture.box(40, 96, 195, 62, ["Image files", "or members of a tar"])
    picture.box(263, 96, 195, 62, ["Decode", "JPEG by libjpeg, else Pillow"])
    picture.box(485, 96, 195, 62, ["Crop, flip, jitter", "drawn anew for every image"])
    picture.arrow((235, 127), (263, 127), tone="blue")
    picture.arrow((458, 127), (485, 127), tone="blue")
    picture.box(485, 188, 195, 62, ["RandAugment", "normalise, random erasing"])
    picture.box(263, 188, 195, 62, ["Batch", "float32, (B, 3, S, S)"])
    picture.box(40, 188, 195, 62, ["Mixup or cutmix", "soft targets, (B, K)"])
    picture.arrow((582, 158), (582, 188), tone="blue")
    picture.arrow((485, 219), (458, 219), tone="blue")
    picture.arrow((263, 219), (235, 219), tone="blue")


def _step(picture: Diagram) -> None:
    _heading(picture, 304, "Device: one optimizer step", "beit_exp/train/", left=152)
    picture.box(LEFT, 316, BROAD, 408, tone="purple")
    picture.arrow((137, 250), (137, 334), tone="blue")
    picture.box(40, 334, 195, 70, ["Forward", "images, drop-path draws", "→ loss"])
    picture.box(263, 334, 195, 70, ["Times the loss scale", "of mixed precision"])
    picture.box(
        485, 334, 195, 70, ["Backward", "gradients of all weights,", "summed over micro-batches"]
    )
    picture.arrow((235, 369), (263, 369), tone="purple")
    picture.arrow((458, 369), (485, 369), tone="purple")
    bucket = f"in buckets of {BUCKET_BYTES >> 20} MB"
    picture.box(485, 434, 195, 70, ["All-reduce", bucket, "(several processes)"])
    picture.box(
        263,
        434,
        195,
        70,
        ["Norm of all gradients", "and what the ranks tell:", "loss, overflow, stop"],
    )
    picture.arrow((582, 404), (582, 434), tone="purple")
    picture.arrow((485, 469), (458, 469), tone="purple")
    picture.box(40, 434, 195, 70, ["Are all finite?", "the host decides"], tone="orange")
    picture.arrow((263, 469), (235, 469), tone="purple")
    picture.arrow((137, 504), (137, 534), tone="green")
    picture.text(147, 525, "yes", anchor="start", size=13)
    picture.box(
        40, 534, 195, 70, ["One factor", "unscaled, averaged, clipped", "to the largest norm"]
    )
    picture.box(263, 534, 195, 70, ["Update", "AdamW: learning rate of", "the step × of the layer"])
    picture.box(485, 534, 195, 70, ["Averaged weights", "EMA, with train.ema_decay"])
    picture.arrow((235, 569), (263, 569), tone="green")
    picture.arrow((458, 569), (485, 569), tone="green")
    picture.arrow((40, 469), (30, 469), (30, 668), (40, 668), tone="red", dashed=True)
    picture.box(
        40,
        632,
        640,
        72,
        [
            "No: the step is skipped and counted",
            "Weights, moments and averages stay; schedule and bias correction wait.",
            "A dynamic loss scale halves; it doubles again after steps without overflow.",
        ],
        tone="red",
    )


def _records(picture: Diagram) -> None:
    _heading(picture, 764, "Records: the first process alone", "beit_exp/tracking/", right=570)
    picture.box(LEFT, 778, BROAD, 218, tone="green")
    picture.arrow((582, 724), (582, 794), tone="purple")
    picture.box(485, 794, 195, 70, ["metrics.jsonl", "a line every", "train.log_every_steps"])
    picture.box(263, 794, 195, 70, ["MLflow thread", "reads the file's new lines", "every second"])
    picture.box(
        40, 794, 195, 70, ["MLflow store", "slow or down: the run", "goes on, it is tried again"]
    )
    picture.arrow((485, 829), (458, 829), tone="green")
    picture.arrow((263, 829), (235, 829), tone="green")
    picture.box(
        40,
        892,
        640,
        88,
        [
            "Checkpoint",
            "weights, moments, averages, loss scale, place in schedule and data, count of records;",
            "written under a temporary name and renamed, with a checksum,",
            "so a run that is killed goes on to the same weights, bit for bit",
        ],
    )
