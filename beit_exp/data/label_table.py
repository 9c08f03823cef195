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
from beit_exp.data.listing import ImageList, ask_of_each, is_image
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
    table: Path, root: Path, *, num_classes: int | None, needs_groups: bool
) -> LabelTable:
    """The images that a table names, from `root` on where their paths are relative.

    Their classes are `num_classes`; None: as many as there are.
    `UserError` says in which line what is wrong.
    """
    needed = (*NEEDED, "group") if needs_groups else NEEDED
    with reading(table):
        columns, rows = _parse(table, _decode(table, table.read_bytes()), needed)
        rows_of = _check_paths(table, rows, root)
    paths = sorted(rows_of)
    found = [rows_of[path] for path in paths]
    classes = sorted({row.fields["label"] for row in rows})
    if num_classes not in (None, len(classes)):
        raise UserError(
            f"dataset.num_classes = {num_classes}: {table} names {len(classes)} classes "
            f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})"
        )
    number_of = {name: number for number, name in enumerate(classes)}
    labels = np.array([number_of[row.fields["label"]] for row in found], np.int32)
    splits = _column(found, "split") if "split" in columns else None
    groups = _column(found, "group") if "group" in columns else None
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


def _parse(table: Path, text: str, needed: tuple[str, ...]) -> tuple[list[str], list[Row]]:
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
                rows.append(
                    _row(table, lines.line_num, dict(zip(columns, values, strict=True)), needed)
                )
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


def _row(table: Path, number: int, fields: dict[str, str], needed: tuple[str, ...]) -> Row:
    for name in needed:
        if not fields[name].strip():
            raise wrong_line(table, number, f"has an empty {name}")
    if not is_image(Path(fields["path"]).name):
        raise wrong_line(table, number, f"names {fields['path']!r}, which is not an image's name")
    if fields.get("split", "") not in ("", *SPLITS):
        what = f"has the split {fields['split']!r}; it must be one of {', '.join(SPLITS)}"
        raise wrong_line(table, number, what)
    return Row(number, fields)


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


def _check_splits(table: Path, splits: list[str], labels: np.ndarray, classes: list[str]) -> None:
    for split in ("train", "val"):
        if split not in splits:
            raise UserError(f"dataset.labels: no line of {table} has the split {split}")
    is_trained_on = np.array(splits) == "train"
    if without := sorted(set(range(len(classes))) - set(labels[is_trained_on].tolist())):
        raise UserError(
            f"dataset.labels: no line of {table} has the split train and the label "
            f"{classes[without[0]]} ({len(without)} such labels)"
        )


def wrong_line(table: Path, number: int, what: str) -> UserError:
    """The complaint about a line of a table."""
    return UserError(f"dataset.labels: {table}, line {number} {what}")
