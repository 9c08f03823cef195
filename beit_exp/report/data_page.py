"""The page of a data set: what to look after, its classes, sizes and copies."""

from __future__ import annotations

import html
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.data.inspection import Inspection
from beit_exp.report import markup
from beit_exp.report.data_findings import (
    PAIR_HEADER,
    as_json,
    find,
    kinds,
    pair_rows,
    side_rows,
)
from beit_exp.report.data_plots import plot_class_sizes, plot_pairs, plot_sizes
from beit_exp.report.markup import Section
from beit_exp.report.result_files import write_table
from beit_exp.storage.files import write_atomically

SHOWN_PAIRS = 20
SHOWN_CLASSES = 40
PICTURES = ("classes", "sizes", "near_pairs")


def write_data_report(data: Inspection, run_dir: Path, *, source: str) -> Path:
    """Write report/report.html, data.json and duplicates.csv; returns the path of the page.

    What an earlier report left goes away.
    """
    content = json.dumps(as_json(data, source=source), indent=1, ensure_ascii=False)
    write_atomically(run_dir / "data.json", content.encode())
    write_table(run_dir / "duplicates.csv", [PAIR_HEADER, *pair_rows(data)])
    folder = run_dir / "report"
    for name in PICTURES:
        (folder / f"{name}.png").unlink(missing_ok=True)
    plot_class_sizes(data.class_sizes(), data.splits, data.classes, folder / "classes.png")
    plot_sizes(*data.sizes(), folder / "sizes.png")
    plot_pairs(data, folder / "near_pairs.png")
    pictures = {
        name: (folder / f"{name}.png").read_bytes()
        for name in PICTURES
        if (folder / f"{name}.png").exists()
    }
    path = folder / "report.html"
    write_atomically(path, as_html(data, pictures, source=source).encode())
    return path


def as_html(data: Inspection, pictures: dict[str, bytes], *, source: str) -> str:
    """One self-contained page."""
    counts = np.bincount(data.split, minlength=len(data.splits)).tolist()
    images = ", ".join(
        f"{count:,} {split}" for split, count in zip(data.splits, counts, strict=True)
    )
    facts = [
        ("images", images),
        ("classes", f"{len(data.classes):,}"),
        *label_facts(data),
        *(
            (name, ", ".join(f"{kind} {count:,}" for kind, count in kinds(data, field).items()))
            for name, field in (("colour modes", "mode"), ("formats", "format"))
        ),
    ]
    sections = [_finding_section(data), *_pair_sections(data, pictures, source)]
    sections += [_class_section(data, pictures), _size_section(data, pictures)]
    if data.complaints:
        sections.append(_unreadable_section(data))
    summary = [(name, html.escape(text)) for name, text in facts]
    return markup.page(f"The images of {source}", summary, sections)


def label_facts(data: Inspection) -> list[tuple[str, str]]:
    """How many labels an image has, where that may be several."""
    if data.labels.ndim == 1:
        return []
    held = data.labels.sum(axis=1, dtype=int)
    without = f"{np.count_nonzero(held == 0):,} images without any"
    return [("labels", f"{held.mean():.2f} an image, at most {held.max()}; {without}")]


def _finding_section(data: Inspection) -> Section:
    findings = find(data)
    caption = "The gravest first." if findings else "Nothing that would have to be looked after."
    content = markup.table(["kind", "what was found"], findings) if findings else ""
    return Section("findings", "What to look after", caption, content)


def _pair_sections(data: Inspection, pictures: dict[str, bytes], source: str) -> list[Section]:
    sections = []
    if "near_pairs" in pictures:
        sections.append(
            Section(
                "near",
                "Nearly the same pictures",
                "The two of a pair have the same number: split and class stand above each. Pairs "
                "in two splits come first, then pairs in two classes.",
                markup.picture("pairs of nearly the same pictures", pictures["near_pairs"]),
            )
        )
    if count := len(data.pairs.first):
        rows = [_pair_row(row, source) for row in islice(pair_rows(data), SHOWN_PAIRS)]
        shown = f"The first {len(rows)} of {count:,}; all are" if count > len(rows) else "Also"
        sections.append(
            Section(
                "pairs",
                "Pairs",
                f"{shown} in duplicates.csv. Exact: the same file, byte by byte. Near: pictures "
                "whose hashes differ in so many of 64 bits. Of many copies of one image, each is "
                "told with the first alone.",
                markup.table(["kind", "bits", "splits", "classes", "first", "second"], rows),
            )
        )
    return sections


def _pair_row(row: list[Any], source: str) -> list[Any]:
    """A row of duplicates.csv with what is the same said once, and paths from `source` on."""
    first, second, kind, bits, *places = row
    splits, classes = (" and ".join(dict.fromkeys(pair)) for pair in (places[:2], places[2:]))
    names = (path.removeprefix(f"{source}/") for path in (first, second))
    return [kind, bits, splits, classes, *names]


def _class_section(data: Inspection, pictures: dict[str, bytes]) -> Section:
    sizes = data.class_sizes()
    order = sizes[0].argsort(kind="stable")[:SHOWN_CLASSES]
    rows = [[data.classes[label], *sizes[:, label].tolist()] for label in order]
    table = markup.table(["class", *data.splits], rows)
    of_many = f" Those of the {SHOWN_CLASSES} smallest stand here, all in data.json."
    caption = "Images of each class, the fewest training images first in the table."
    return Section(
        "classes",
        "Classes",
        caption + (of_many if len(data.classes) > SHOWN_CLASSES else ""),
        markup.picture("images of each class", pictures["classes"])
        + f"<details><summary>table</summary>{table}</details>",
    )


def _size_section(data: Inspection, pictures: dict[str, bytes]) -> Section:
    table = markup.table(["split", "pixels", "smallest", "median", "largest"], side_rows(data))
    return Section(
        "sizes",
        "Sizes of the images",
        "To the left a circle for each width and height, the larger the more images have it; "
        "on the dotted line they are square. To the right the shorter side.",
        (markup.picture("width and height", pictures["sizes"]) if "sizes" in pictures else "")
        + table,
    )


def _unreadable_section(data: Inspection) -> Section:
    complaints = list(data.complaints.values())
    rows = [[text] for text in complaints[:SHOWN_PAIRS]]
    return Section(
        "unreadable",
        "Images that cannot be read",
        f"{len(complaints):,} files; all are in bad_images.txt.",
        markup.table(["file, and why"], rows),
    )
