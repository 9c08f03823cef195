from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from settings import OFFICIAL

from beit_exp.errors import UserError
from beit_exp.weights.load import read_weights


def test_official_file_is_read_without_torch(official: dict[str, np.ndarray]) -> None:
    assert official["blocks.0.attn.qkv.weight"].shape == (144, 48)
    assert all(
        array.dtype == np.float32 for name, array in official.items() if not name.endswith("index")
    )


def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_here"),)

    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Evil()}))
    with pytest.raises(UserError, match=r"evil.pth is refused: it asks to run posix.mkdir"):
        read_weights(path)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    content = OFFICIAL.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut.pth is truncated, or not the zip format"):
        read_weights(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    text = io.BytesIO()
    with zipfile.ZipFile(OFFICIAL) as source, zipfile.ZipFile(text, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[: len(data) // 2] if name.endswith("/data/0") else data)
    path = tmp_path / "short.pth"
    path.write_bytes(text.getvalue())
    with pytest.raises(UserError, match=r"short.pth is refused: storage 0 holds"):
        read_weights(path)
