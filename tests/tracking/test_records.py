from __future__ import annotations

from pathlib import Path

from beit_exp.tracking.records import keep_records


def test_a_record_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    keep_records(path, 1)
    assert path.read_text() == '{"step": 1}\n'
