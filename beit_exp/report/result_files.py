"""What a task found, as files that are there whole or not at all: tables and arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def writing_array(
    path: Path, *, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[Callable[[np.ndarray], None]]:
    """A .npy file of `shape`, of which a function writes one row after the other.

    In memory there are no others. Not as a map of the file, for a full disk would be no error then
    but the end of the process.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]

        def write(rows: np.ndarray) -> None:
            file.write(np.ascontiguousarray(rows, dtype).data)

        yield write
