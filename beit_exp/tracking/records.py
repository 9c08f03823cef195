"""The truth about a run, on disk: `metrics.jsonl`, a record a line, and `facts.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO, Literal

from beit_exp.storage.files import write_atomically

Status = Literal["FINISHED", "FAILED", "KILLED"]
READ_BYTES = 1 << 20


def read_records(path: Path) -> list[dict[str, Any]]:
    """Every whole record of a `metrics.jsonl`; a last line cut short by a crash is left out."""
    records = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            records.append(json.loads(line))
    return records


def keep_records(path: Path, count: int) -> None:
    """Drop all but the first records, and a line cut short."""
    kept = read_records(path)[:count]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def read_whole_lines(file: BinaryIO) -> list[bytes]:
    """Lines from here on that are complete, of about a megabyte."""
    return [line for line in file.readlines(READ_BYTES) if line.endswith(b"\n")]


FACTS_FILE = "facts.json"  # in a run directory


def read_facts(run_dir: Path) -> dict[str, Any]:
    """What a run directory tells of its run besides the settings: see `Tracker.log_facts`."""
    path = run_dir / FACTS_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def merge(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Facts of both; tags are added to, the rest is replaced."""
    return {**known, **new, "tags": {**known.get("tags", {}), **new.get("tags", {})}}
