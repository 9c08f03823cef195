from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from whole_runs import Command, metrics_of


@pytest.mark.slow
def test_exports_give_the_networks_logits_read_back(
    finished: tuple[Command, Path], work: Callable[..., Path]
) -> None:
    formats = ("mindir", "onnx", "safetensors", "huggingface")
    chosen = f"export.formats=[{','.join(formats)}]"
    folder = work("task=export", f"checkpoint={finished[1]}", chosen)
    differences = {name: value for name, value in metrics_of(folder).items() if "export/" in name}
    assert differences.keys() == {f"export/{form}_difference" for form in formats}
    assert max(differences.values()) <= 1e-5
    files = [
        *(folder / f"beit_micro.{form}" for form in formats[:3]),
        folder / "huggingface" / "model.safetensors",
    ]
    assert min(path.stat().st_size for path in files) > 10_000
    described = json.loads((folder / "huggingface" / "config.json").read_text())
    assert (described["hidden_size"], described["id2label"]["7"]) == (32, "7")
    preprocess = json.loads((folder / "preprocess.json").read_text())
    assert preprocess["classes"] == [str(digit) for digit in range(10)]
