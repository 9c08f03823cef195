"""The processes of a run on eight cards: who reads, who sums, who writes."""

from __future__ import annotations

from functools import partial

from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.listing import ImageList
from beit_exp.hardware.cluster import world_size
from beit_exp.train.gradients import BUCKET_BYTES
from pictures.diagram import Diagram
from pictures.palette import Palette

WIDTH, HEIGHT = 700, 988
COMMAND = ("experiment=imagenet_base", "dataset.data_url=/imagenet")
SHOWN = (0, 1, 2, 7)  # ranks that have a box
COLUMNS = (20, 180, 340, 540)  # where these boxes begin
RANK_WIDE = 140


def draw(palette: Palette) -> str:
    """The SVG of the recipe for ImageNet on a server of eight cards."""
    cfg = make_config(*COMMAND)
    picture = Diagram(palette, WIDTH, HEIGHT, f"The processes of a run on {cards(cfg)} cards")
    _started(picture, cfg)
    _ranks(picture, cfg)
    _together(picture, cards(cfg))
    _written(picture)
    return picture.svg()


def cards(cfg: Config) -> int:
    return world_size(cfg.hardware)


def places(cfg: Config, rank: int) -> tuple[int, int]:
    """The first and the last place of a rank's images in a global batch."""
    slots = stream(cfg, rank).slots
    return int(slots[0]), int(slots[-1])


def stream(cfg: Config, rank: int) -> TrainStream:
    """The training stream of a rank, of an epoch of one step."""
    size = cfg.train.batch_size * cards(cfg)
    images = ImageList([""] * size, [0] * size, ["class"])
    return TrainStream(images, cfg, Shard(rank, cards(cfg)))


def _started(picture: Diagram, cfg: Config) -> None:
    picture.box(
        20,
        12,
        480,
        66,
        [
            "python launch.py experiment=imagenet_base …",
            "composes and checks the settings, writes RUN/config.yaml",
        ],
        tone="blue",
    )
    picture.arrow((260, 78), (260, 102), tone="blue")
    picture.box(
        20,
        102,
        480,
        88,
        [
            "python -m beit_exp.worker RUN",
            f"starts {cards(cfg)} ranks, gives each its share of the cores,",
            "passes signals on, and stops all when one has failed",
        ],
        tone="blue",
    )
    picture.box(
        540, 102, 140, 88, ["Scheduler", "of MindSpore: the", "ranks meet there"], tone="blue"
    )
    picture.arrow((500, 146), (540, 146), tone="blue")
    for left in COLUMNS:
        middle = left + RANK_WIDE / 2
        picture.arrow((260, 190), (260, 208), (middle, 208), (middle, 226), tone="blue")


def _ranks(picture: Diagram, cfg: Config) -> None:
    batch = cfg.train.batch_size * cards(cfg)
    for left, rank in zip(COLUMNS, SHOWN, strict=True):
        first, last = places(cfg, rank)
        picture.box(left, 226, RANK_WIDE, 44, [f"Rank {rank}", f"card {rank}"], tone="purple")
        picture.arrow((left + RANK_WIDE / 2, 270), (left + RANK_WIDE / 2, 292), tone="purple")
        picture.box(
            left,
            292,
            RANK_WIDE,
            84,
            [
                f"{cfg.train.batch_size} images",
                f"places {first} to {last}",
                f"of a batch of {batch}",
            ],
        )
        picture.arrow((left + RANK_WIDE / 2, 376), (left + RANK_WIDE / 2, 452), tone="purple")
    for y in (248, 334):
        picture.text(510, y + 5, "…", bold=True, size=22)
    words = partial(picture.text, size=13, color=picture.palette.muted)
    picture.box(20, 394, 660, 36, dashed=True)
    words(
        350,
        417,
        "Each reads its own: all draw the same order from the seed. No image repeats in an epoch.",
    )


def _together(picture: Diagram, size: int) -> None:
    picture.box(
        20,
        452,
        660,
        106,
        [
            "All-reduce over all ranks, at every step",
            f"gradients, in buckets of {BUCKET_BYTES >> 20} MB, those of the last layers first;",
            "then one vector: loss, measures, overflow, and whether a rank was asked to stop.",
            "So all skip a step together, and all stop at the same one.",
        ],
        tone="orange",
    )
    picture.arrow((350, 558), (350, 582), tone="orange")
    picture.box(
        20,
        582,
        660,
        48,
        ["The same update on every rank", "weights, moments and averages stay equal, bit for bit"],
        tone="purple",
    )
    picture.arrow((185, 630), (185, 654), tone="purple")
    picture.arrow((515, 630), (515, 654), tone="purple")
    picture.box(
        20,
        654,
        320,
        104,
        [
            "Evaluation",
            f"rank 1 reads images 1, {1 + size}, {1 + 2 * size}, …: each image",
            "once; sums and outcomes of all ranks",
            "are gathered",
        ],
    )
    picture.box(
        360,
        654,
        320,
        104,
        [
            "Compared between ranks",
            "the lists of images, at the start;",
            "a checksum of all weights, on resuming",
            "and at every checkpoint",
        ],
    )


def _written(picture: Diagram) -> None:
    picture.arrow((350, 758), (350, 792), tone="green")
    picture.box(20, 792, 660, 180, tone="green")
    picture.text(350, 816, "Written by rank 0 alone", bold=True, size=16)
    picture.box(
        36,
        832,
        196,
        96,
        ["checkpoints/", "the newest and the best;", "copies to an object store", "by a thread"],
    )
    picture.box(
        252, 832, 196, 96, ["metrics.jsonl", "every record,", "metrics.json, plots/,", "report/"]
    )
    picture.box(
        468, 832, 196, 96, ["MLflow", "a thread reads", "metrics.jsonl and sends", "what is new"]
    )
    picture.arrow((448, 880), (468, 880), tone="green")
    picture.text(
        350,
        956,
        "Every rank writes a log of its own: launch.log, launch.rank1.log, …",
        size=13,
        color=picture.palette.muted,
    )
