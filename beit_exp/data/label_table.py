"""A CSV table of images with their classes and, where it has the columns, splits and groups."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beit_exp.config.complaints import nearest
from beit_exp.data import archives
from beit_exp.data.image_names import is_image
from beit_exp.data.labels import SEPARATOR, count_classes
from beit_exp.data.listing import ImageList, ask_of_each
from beit_exp.data.splits import SPLITS
from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading

NEEDED, OPTIONAL = ("path", "label"), ("split", "group")


class LabelTable(NamedTuple):
    """The images of a table in the order of their paths, its classes sorted."""

    images: ImageList
    splits: list[str] | None  # None: it has no such column
    groups: list[str] | None


class Row(NamedTuple):
    """A row of a table: the number of its last line, and its fields by column."""

    number: int
    fields: dict[str, str]


def read_label_table(
    table: Path, root: Path, *, num_classes: int | None, needs_groups: bool, multi_label: bool
) -> LabelTable:
    """The images that a table names, from `root` on where their paths are relative.

    Their classes are `num_classes`; None: as many as there are. With `multi_label` a label is any
    number of them, joined by the separator. `UserError` says in which line what is wrong.
    """
    needed = (*NEEDED, "group") if needs_groups else NEEDED
    with reading(table):
        columns, rows = _parse(
            table, _decode(table, table.read_bytes()), needed, multi_label=multi_label
        )
        rows_of = _check_paths(table, rows, root)
    paths = sorted(rows_of)
    found = [_names(rows_of[path], multi_label=multi_label) for path in paths]
    classes = sorted({name for names in found for name in names})
    _check_classes(table, classes, multi_label=multi_label)
    number_of = {name: number for number, name in enumerate(classes)}
    if num_classes not in (None, len(classes)):
        raise UserError(
            f"dataset.num_classes = {num_classes}: {table} names {len(classes)} classes "
            f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})"
        )
    if multi_label:
        labels = np.zeros((len(found), len(classes)), np.uint8)
        for image, names in enumerate(found):
            labels[image, [number_of[name] for name in names]] = 1
    else:
        labels = np.array([number_of[name] for (name,) in found], np.int32)
    in_order = [rows_of[path] for path in paths]
    splits = _column(in_order, "split") if "split" in columns else None
    groups = _column(in_order, "group") if "group" in columns else None
    if splits is not None and any(splits):
        _check_splits(table, splits, labels, classes)
    else:
        splits = None
    return LabelTable(ImageList(paths, labels, classes), splits, groups)


def _decode(table: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise wrong_line(table, number, f"is not UTF-8: {error.reason}") from error


def _names(row: Row, *, multi_label: bool) -> list[str]:
    """The labels of a row."""
    label = row.fields["label"]
    if not multi_label:
        return [label]
    return [name.strip() for name in label.split(SEPARATOR)] if label.strip() else []


def _parse(
    table: Path, text: str, needed: tuple[str, ...], *, multi_label: bool
) -> tuple[list[str], list[Row]]:
    """The columns and the rows of a table; each row has the `needed` fields."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    rows: list[Row] = []
    try:
        for values in lines:
            if not columns:
                columns = values
                _check_columns(table, columns, needed)
            elif values:  # an empty line is none
                if len(values) != len(columns):
                    what = f"has {len(values)} fields for {len(columns)} columns"
                    raise wrong_line(table, lines.line_num, what)
                row = Row(lines.line_num, dict(zip(columns, values, strict=True)))
                _check_row(table, row, needed, multi_label=multi_label)
                rows.append(row)
    except csv.Error as error:
        raise wrong_line(table, lines.line_num, f"is no CSV: {error}") from error
    if not columns:
        raise wrong_line(table, 1, "must name the columns: path,label")
    with_split = [row for row in rows if row.fields.get("split")]
    if 0 < len(with_split) < len(rows):
        first = next(row for row in rows if not row.fields["split"])
        raise wrong_line(table, first.number, "names no split, as other lines do")
    if not rows:
        raise wrong_line(table, 2, "is missing: there is no image")
    return columns, rows


def _check_columns(table: Path, columns: list[str], needed: tuple[str, ...]) -> None:
    known = [*NEEDED, *OPTIONAL]
    if len(columns) == 1 and columns[0] not in known and any(map(columns[0].count, ";\t")):
        raise wrong_line(table, 1, "must separate the columns by commas: path,label")
    for name in columns:
        if name not in known:
            what = f"has the unknown column {name!r}; columns are {', '.join(known)}."
            raise wrong_line(table, 1, what + nearest(name, known))
        if columns.count(name) > 1:
            raise wrong_line(table, 1, f"has the column {name!r} twice")
    for name in needed:
        if name not in columns:
            raise wrong_line(table, 1, f"lacks the column {name!r}: the first line names columns")


def _check_row(table: Path, row: Row, needed: tuple[str, ...], *, multi_label: bool) -> None:
    number, fields = row
    for name in needed:
        if not fields[name].strip() and not (name == "label" and multi_label):
            raise wrong_line(table, number, f"has an empty {name}")
    names = _names(row, multi_label=multi_label)
    if not all(names):
        raise wrong_line(table, number, f"has an empty label in {fields['label']!r}")
    if len(set(names)) < len(names):
        raise wrong_line(table, number, f"has a label twice in {fields['label']!r}")
    if not is_image(Path(fields["path"]).name):
        raise wrong_line(table, number, f"names {fields['path']!r}, which is not an image's name")
    if fields.get("split", "") not in ("", *SPLITS):
        what = f"has the split {fields['split']!r}; it must be one of {', '.join(SPLITS)}"
        raise wrong_line(table, number, what)


def _check_paths(table: Path, rows: list[Row], root: Path) -> dict[str, Row]:
    """The rows by the place of their image, which is there, and is named once."""
    rows_of: dict[str, Row] = {}
    for row in rows:
        path = os.path.abspath(root / row.fields["path"])
        if path in rows_of:
            what = f"names {row.fields['path']!r} again, as line {rows_of[path].number} does"
            raise wrong_line(table, row.number, what)
        rows_of[path] = row
    absent = ask_of_each(list(rows_of), _absent)
    for path in absent:
        if not archives.holds(path):
            raise wrong_line(table, rows_of[path].number, f"names {path}, which is not there")
    return rows_of


def _absent(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.isfile(path)]


def _column(rows: list[Row], name: str) -> list[str]:
    return [row.fields[name] for row in rows]


def _check_classes(table: Path, classes: list[str], *, multi_label: bool) -> None:
    if len(classes) >= (1 if multi_label else 2):
        return
    named = f" ({classes[0]}); there must be two at the least" if classes else ""
    raise UserError(f"dataset.labels: {table} names {len(classes)} labels{named}")


def _check_splits(table: Path, splits: list[str], labels: np.ndarray, classes: list[str]) -> None:
    for split in ("train", "val"):
        if split not in splits:
            raise UserError(f"dataset.labels: no line of {table} has the split {split}")
        if not count_classes(labels[np.array(splits) == split], len(classes)).any():
            raise UserError(f"dataset.labels: no image of {split} in {table} has a label")
    is_trained_on = np.array(splits) == "train"
    if len(without := np.flatnonzero(count_classes(labels[is_trained_on], len(classes)) == 0)):
        raise UserError(
            f"dataset.labels: no line of {table} has the split train and the label "
            f"{classes[without[0]]} ({len(without)} such labels)"
        )


def wrong_line(table: Path, number: int, what: str) -> UserError:
    """The complaint about a line of a table."""
    return UserError(f"dataset.labels: {table}, line {number} {what}")
