from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from beit_exp.errors import UserError
from beit_exp.storage.temporary import temporary_folder


def test_the_folder_is_that_of_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)  # what Python chose before
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert temporary_folder() == tmp_path


def test_where_there_is_none_the_message_says_what_to_set(tmp_path: Path, monkeypatch) -> None:
    places = [str(tmp_path / "no"), str(tmp_path / "neither")]
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: places)
    with pytest.raises(UserError) as caught:
        temporary_folder()
    assert f"none of {places}: set TMPDIR to a folder" in str(caught.value)
