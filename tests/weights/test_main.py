from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from settings import OFFICIAL

from beit_exp.weights.__main__ import main


def test_conversion_there_and_back_changes_nothing(
    official: dict[str, np.ndarray], tmp_path: Path
) -> None:
    ours, back = tmp_path / "ours.safetensors", tmp_path / "official.safetensors"
    assert main([str(OFFICIAL), str(ours)]) == 0
    theirs = tmp_path / "huggingface.safetensors"
    assert main([str(ours), str(theirs), "--to", "huggingface"]) == 0
    assert main([str(theirs), str(back), "--to", "official"]) == 0
    found = load_file(back)
    expected = {
        name: array
        for name, array in official.items()
        if not name.endswith("relative_position_index")
    }
    assert found.keys() == expected.keys()
    assert all((found[name] == array).all() for name, array in expected.items())
