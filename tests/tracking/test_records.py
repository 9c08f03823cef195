from __future__ import annotations

from pathlib import Path

from beit_exp.tracking.records import count_records, keep_records, read_records


def test_a_record_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    keep_records(path, 1)
    assert path.read_text() == '{"step": 1}\n'


def test_a_damaged_line_is_told_once_and_later_ones_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\xff\x00": 2}\n{"step": 3}\n{"ste')
    assert count_records(path) == 3
    assert keep_records(path, 3) == [2]
    assert keep_records(path, 3) == []
    assert count_records(path) == 3
    assert [record["step"] for record in read_records(path)] == [1, 3]
