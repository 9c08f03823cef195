from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from beit_exp.storage.files import replacing, replacing_folder, write_atomically


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half of the ne")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("umask", "of_file", "of_folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755)]
)
def test_who_may_read_what_is_written_is_the_umasks_to_say(
    umask: int, of_file: int, of_folder: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"new")
        with replacing(tmp_path / "locked") as temporary:
            temporary.write_bytes(b"as MindSpore leaves its files")
            temporary.chmod(0o700)
        with replacing_folder(tmp_path / "folder", is_whole=Path.is_dir) as temporary:
            (temporary / "file").write_bytes(b"new")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"file": of_file, "locked": of_file, "folder": of_folder}


def test_of_two_processes_that_write_a_folder_the_first_ones_stays(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with replacing_folder(folder, is_whole=lambda place: (place / "val").is_dir()) as temporary:
        (temporary / "val").mkdir()
        (folder / "val").mkdir(parents=True)
        (folder / "val" / "first").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "val", "first"]
    with (
        pytest.raises(OSError),
        replacing_folder(folder, is_whole=lambda place: (place / "test").is_dir()) as temporary,
    ):
        (temporary / "test").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
