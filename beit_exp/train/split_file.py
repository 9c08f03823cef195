"""The split that a run was begun with, in its directory: other images on resuming are refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

from beit_exp.data.description import DIGEST_LENGTH
from beit_exp.data.labels import label_text
from beit_exp.data.pool import Pool
from beit_exp.errors import UserError
from beit_exp.report.result_files import write_table
from beit_exp.tracking.records import SPLIT_COLUMNS, SPLIT_FILE, read_split


def keep_split(pool: Pool, run_dir: Path, *, is_begun: bool) -> str:
    """Write the split or, of a run that has begun, compare it; returns its digest."""
    path = run_dir / SPLIT_FILE
    if is_begun and path.exists():
        check_split(pool, path)
    else:
        write_table(path, [SPLIT_COLUMNS, *split_rows(pool)])
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGEST_LENGTH]


def split_rows(pool: Pool) -> list[tuple[str, ...]]:
    """A row for each image: its path in the data set, label, split and, where it has one, group."""
    classes, count = pool.images.classes, len(pool.images)
    labels = [label_text(label, classes) for label in pool.images.labels]
    groups = pool.groups or [""] * count
    return list(zip(pool.names(), labels, pool.splits.tolist(), groups, strict=True))


def trained_on(path: Path) -> set[str]:
    """The names of the images that a split gives to the training."""
    return {name for name, (_, split, _) in read_split(path).items() if split == "train"}


def check_split(pool: Pool, path: Path) -> None:
    """Raise `UserError` unless a split is the one that a file tells."""
    before = read_split(path)
    now = {name: tuple(told) for name, *told in split_rows(pool)}
    if before == now:
        return
    came, went = len(now.keys() - before.keys()), len(before.keys() - now.keys())
    unlike = sum(before[name] != now[name] for name in before.keys() & now.keys())
    raise UserError(
        f"the data set has changed, or the seed: {path} tells another split than they give now. "
        f"{came} images came, {went} went, {unlike} others have another label, split or group. "
        "Bring back the images, labels and seed as they were, or begin another run in another "
        "hydra.run.dir"
    )
