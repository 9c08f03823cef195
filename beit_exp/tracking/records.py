"""The truth about a run, on disk: `metrics.jsonl`, a record a line, `facts.json`, `mlflow.json`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, BinaryIO, Literal

from beit_exp.storage.files import write_atomically
from beit_exp.storage.foreign import reading

Status = Literal["FINISHED", "FAILED", "KILLED"]
READ_BYTES = 1 << 20
EMPTY = b"{}\n"


def read_records(path: Path) -> list[dict[str, Any]]:
    """Every whole record of a `metrics.jsonl`.

    What a crash cut short is left out, and what a damaged disk made no record.
    """
    return [record for record in map(parse, _whole_lines(path)) if record]


def parse(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None if it is damaged, as is the empty one that takes its place."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def count_records(path: Path) -> int:
    """Whole lines, damaged ones among them: checkpoints count by these."""
    return len(_whole_lines(path))


def keep_records(path: Path, count: int) -> list[int]:
    """Drop all but the first lines, and one cut short; returns the numbers of damaged ones.

    An empty record takes their place, and that of those that are missing, so that later ones keep
    their numbers.
    """
    lines = _whole_lines(path)[:count]
    lines += [b""] * (count - len(lines))
    kept = [(line, parse(line)) for line in lines]
    write_atomically(path, b"".join(EMPTY if record is None else line for line, record in kept))
    return [
        number for number, (line, record) in enumerate(kept, 1) if record is None and line != EMPTY
    ]


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def read_whole_lines(file: BinaryIO) -> list[bytes]:
    """Lines from here on that are complete, of about a megabyte."""
    return [line for line in file.readlines(READ_BYTES) if line.endswith(b"\n")]


# In a run directory
FACTS_FILE = "facts.json"
SPLIT_FILE = "split.csv"  # path, label, split and group of each image, where the run made the split
SPLIT_COLUMNS = ("path", "label", "split", "group")
STATE_FILE = "mlflow.json"  # the store, and the id of the run in it
# In a sweep's directory, left by the launcher beside the jobs' folders
SWEEP_FILE = "sweep.json"  # the store, the id of the jobs' parent run in it, and what is swept


def read_facts(run_dir: Path) -> dict[str, Any]:
    """What a run directory tells of its run besides the settings: see `Tracker.log_facts`."""
    return _read_mapping(run_dir / FACTS_FILE)


def read_state(run_dir: Path) -> dict[str, Any]:
    """How a run directory's run is found in its store: see `mlflow_run.open_run`."""
    return _read_mapping(run_dir / STATE_FILE)


def read_split(path: Path) -> dict[str, tuple[str, ...]]:
    """Path -> label, split and group, in the order of a `split.csv`; `UserError` of another."""
    with reading(path, "is damaged"), path.open(newline="", encoding="utf-8") as file:
        columns, *rows = csv.reader(file, strict=True)
        if tuple(columns) != SPLIT_COLUMNS or any(len(row) != len(columns) for row in rows):
            raise ValueError(f"its columns are not {','.join(SPLIT_COLUMNS)}")
        return {name: tuple(told) for name, *told in rows}


def read_sweep(sweep_dir: Path) -> dict[str, Any]:
    """What the launcher left of a sweep: `uri` of the store, `run_id` of the run that its jobs
    belong under, if any, and the `swept` keys. Nothing if there is none; `UserError` if damaged.
    """
    path = sweep_dir / SWEEP_FILE
    state = _read_mapping(path)
    with reading(path, "is damaged"):
        if path.exists() and "swept" not in state:
            raise ValueError("it does not say what is swept")
    return state


def write_state(run_dir: Path, state: dict[str, Any]) -> None:
    """Keep it; `FileNotFoundError` if the directory is gone, for nothing makes another."""
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir} was moved or deleted")
    write_atomically(run_dir / STATE_FILE, json.dumps(state).encode())


def _read_mapping(path: Path) -> dict[str, Any]:
    """What a file holds, nothing if there is none; `UserError` if it is damaged."""
    if not path.exists():
        return {}
    with reading(path):
        content = path.read_bytes()
    with reading(path, "is damaged; the run can do without, so remove it"):
        return dict(json.loads(content))


def merge(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Facts of both; tags are added to, the rest is replaced."""
    return {**known, **new, "tags": {**known.get("tags", {}), **new.get("tags", {})}}
