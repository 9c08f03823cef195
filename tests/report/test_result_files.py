"""Tables and arrays as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beit_exp.report.result_files import write_array, write_table, writing_array


def test_a_table_is_comma_separated_with_quotes_where_they_are_needed(tmp_path: Path) -> None:
    write_table(tmp_path / "sub" / "table.csv", [["class", "top1"], ["bow, long", 0.1], ["é", ""]])
    found = (tmp_path / "sub" / "table.csv").read_bytes()
    assert found == 'class,top1\n"bow, long",0.1\né,\n'.encode()


def test_an_array_comes_back_as_it_was_and_its_file_is_alone(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "logits.npy", array)
    found = np.load(tmp_path / "logits.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array)
    assert [path.name for path in tmp_path.iterdir()] == ["logits.npy"]


def test_a_table_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(path, [["old"]])

    def rows():
        yield ["new"]
        raise RuntimeError("no more rows")

    with pytest.raises(RuntimeError):
        write_table(path, rows())
    assert path.read_text() == "old\n"


def test_an_array_written_in_parts_is_that_written_at_once(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_array(tmp_path / "once.npy", array)
    path = tmp_path / "parts.npy"
    with writing_array(path, shape=(4, 3), dtype=array.dtype) as write:
        write(array[:1])
        write(array[1:])
        assert not path.exists()
    assert path.read_bytes() == (tmp_path / "once.npy").read_bytes()
    with pytest.raises(RuntimeError), writing_array(path, shape=(1,), dtype=array.dtype) as write:
        raise RuntimeError("no rows")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["once.npy", "parts.npy"]
    np.testing.assert_array_equal(np.load(path), array)
