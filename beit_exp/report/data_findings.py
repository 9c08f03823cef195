"""What a look at a data set has found, in words, numbers and tables: the gravest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from beit_exp.data.inspection import LONG, SMALL, TINY, Inspection

NAMED = 5
MOST_LISTED = 1000  # entries of a list in data.json
PAIR_HEADER = (
    *("first", "second", "kind", "distance"),
    *("first_split", "second_split", "first_label", "second_label"),
)


class Finding(NamedTuple):
    """Something to look after: what kind, and in words."""

    name: str
    text: str


def find(data: Inspection) -> list[Finding]:
    """What should be looked after, the gravest first; empty if there is nothing."""
    found = [
        Finding("leak", _told(counts, f"of {second}", f"in {first}, too"))
        for (first, second), counts in data.leaks().items()
    ]
    in_two_classes = data.copies(data.disagree())
    if any(in_two_classes):
        where = "in another class, too" if data.labels.ndim == 1 else "there with other labels, too"
        found.append(Finding("labels", _told(in_two_classes, "", where)))
    if data.complaints:
        found.append(Finding("unreadable", f"{_count(data.complaints, 'image')} cannot be read"))
    inside = data.copies(~data.across())
    if any(inside):
        found.append(Finding("duplicates", _told(inside, "", "in the same split once more")))
    if not data.pairs.is_whole:
        found.append(Finding("duplicates", "there are more near pairs than were looked for"))
    if small := data.small_classes():
        named = _named(f"{name} ({count})" for name, count in small)
        text = f"{_count(small, 'class', 'classes')} with fewer than {SMALL} training images"
        found.append(Finding("classes", f"{text}: {named}"))
    if data.other_files:
        text = f"{_count(data.other_files, 'file')} in class folders, no image by its name"
        found.append(Finding("other files", f"{text}: {_named(map(_short, data.other_files))}"))
    if len(tiny := data.tiny()):
        text = f"{_count(tiny, 'image')} with a side shorter than {TINY} pixels"
        found.append(Finding("tiny", f"{text}: {_named(_short(data.paths[n]) for n in tiny)}"))
    if len(long := data.long()):
        text = f"{_count(long, 'image')} with a side more than {LONG} times as long as the other"
        found.append(Finding("long", f"{text}: {_named(_short(data.paths[n]) for n in long)}"))
    return found


def _told(counts: tuple[int, int], of: str, where: str) -> str:
    """`3 images of val are in train, too (2 the same file, 1 nearly the same picture)`."""
    equal, near = counts
    names = ((equal, "the same file"), (near, "nearly the same picture"))
    kinds = [f"{count:,} {name}" if equal and near else name for count, name in names if count]
    images = " ".join(filter(None, [_count(range(equal + near), "image"), of]))
    return f"{images} {'is' if equal + near == 1 else 'are'} {where} ({', '.join(kinds)})"


def _count(found: Sequence[Any] | np.ndarray | dict[int, str], one: str, many: str = "") -> str:
    return f"{len(found):,} {one if len(found) == 1 else many or f'{one}s'}"


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def _short(path: str) -> str:
    """A file's name and its folder's; data.json has all of it."""
    return "/".join(path.split("/")[-2:])


def data_metrics(data: Inspection) -> dict[str, float]:
    """Every finding as a number; `data/leaks` counts images that are in an earlier split, too."""
    is_bad = data.fingerprints["width"] == 0
    metrics: dict[str, float] = {}
    for number, split in enumerate(data.splits):
        own = data.split == number
        metrics[f"data/{split}_images"] = int(own.sum())
        metrics[f"data/{split}_bad_images"] = int((own & is_bad).sum())
    equal, near = data.copies(np.ones(len(data.pairs.first), bool))
    return metrics | {
        "data/classes": len(data.classes),
        "data/leaks": sum(data.copies(data.across())),
        "data/label_conflicts": sum(data.copies(data.disagree())),
        "data/duplicates": equal,
        "data/near_duplicates": near,
        "data/small_classes": len(data.small_classes()),
        "data/tiny_images": len(data.tiny()),
        "data/long_images": len(data.long()),
        "data/other_files": len(data.other_files),
    }


def pair_rows(data: Inspection) -> Iterator[list[Any]]:
    """A row a pair under PAIR_HEADER, the gravest first."""
    pairs = data.pairs
    columns = pairs.first, pairs.second, pairs.distance, pairs.exact
    for first, second, distance, exact in zip(*(map(np.ndarray.tolist, columns)), strict=True):
        yield [
            *(data.paths[first], data.paths[second], "exact" if exact else "near", distance),
            *(data.splits[data.split[number]] for number in (first, second)),
            *(data.label(number) for number in (first, second)),
        ]


def kinds(data: Inspection, field: str) -> dict[str, int]:
    """How many of the images that can be read have each `mode` or `format`, the most first."""
    read = data.fingerprints["width"] > 0
    names, counts = np.unique(data.fingerprints[field][read], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {names[place].decode(): int(counts[place]) for place in order}


def side_rows(data: Inspection) -> list[list[Any]]:
    """Smallest, median and largest width and height of each split's images."""
    rows = []
    for number, split in enumerate(data.splits):
        read = (data.split == number) & (data.fingerprints["width"] > 0)
        for side in ("width", "height"):
            if len(pixels := data.fingerprints[side][read]):
                middle = int(np.median(pixels))
                rows.append([split, side, int(pixels.min()), middle, int(pixels.max())])
    return rows


def as_json(data: Inspection, *, source: str) -> dict[str, Any]:
    """All of it for programs; of long lists the beginning, and how long they are."""
    sizes = data.class_sizes()
    pairs = [
        dict(zip(PAIR_HEADER, row, strict=True)) for row in islice(pair_rows(data), MOST_LISTED)
    ]
    return {
        "source": source,
        "findings": [finding._asdict() for finding in find(data)],
        "metrics": data_metrics(data),
        "classes": {
            split: dict(zip(data.classes, counts.tolist(), strict=True))
            for split, counts in zip(data.splits, sizes, strict=True)
        },
        "sides": [
            dict(zip(("split", "side", "smallest", "median", "largest"), row, strict=True))
            for row in side_rows(data)
        ],
        "modes": kinds(data, "mode"),
        "formats": kinds(data, "format"),
        "leaks": [
            {"first": first, "second": second, "exact": equal, "near": near}
            for (first, second), (equal, near) in data.leaks().items()
        ],
        "pairs": {
            "count": len(data.pairs.first),
            "are_all": data.pairs.is_whole,
            "listed": pairs,
        },
        "unreadable": _listed(list(data.complaints.values())),
        "small_classes": _listed([[name, count] for name, count in data.small_classes()]),
        "other_files": _listed(data.other_files),
        "tiny": _listed([data.paths[number] for number in data.tiny()]),
        "long": _listed([data.paths[number] for number in data.long()]),
    }


def _listed(entries: list[Any]) -> dict[str, Any]:
    return {"count": len(entries), "listed": entries[:MOST_LISTED]}
