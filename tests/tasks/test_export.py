from __future__ import annotations

import json
from pathlib import Path

from whole_runs import Command, metrics_of


def test_exports_give_the_networks_logits_read_back(finished: tuple[Command, Path]) -> None:
    command, run_dir = finished
    formats = ("mindir", "onnx", "safetensors", "huggingface")
    chosen = f"export.formats=[{','.join(formats)}]"
    done = command("task=export", f"checkpoint={run_dir}", chosen, "hydra.run.dir=exported")
    assert done.returncode == 0, done.stdout
    differences = {
        name: value
        for name, value in metrics_of(command.folder / "exported").items()
        if "export/" in name
    }
    assert differences.keys() == {f"export/{form}_difference" for form in formats}
    assert max(differences.values()) <= 1e-5
    folder = command.folder / "exported"
    files = [
        *(folder / f"beit_micro.{form}" for form in formats[:3]),
        folder / "huggingface" / "model.safetensors",
    ]
    assert min(path.stat().st_size for path in files) > 10_000
    described = json.loads((folder / "huggingface" / "config.json").read_text())
    assert (described["hidden_size"], described["id2label"]["7"]) == (32, "7")
    preprocess = json.loads((command.folder / "exported" / "preprocess.json").read_text())
    assert preprocess["classes"] == [str(digit) for digit in range(10)]
