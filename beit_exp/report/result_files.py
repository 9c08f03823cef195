"""What a task found, as files that are there whole or not at all: tables and arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beit_exp.storage.files import replacing, write_atomically


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, the first row being its headings; lines end as on Unix."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, text.getvalue().encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """A .npy file, whatever the ending of `path`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
