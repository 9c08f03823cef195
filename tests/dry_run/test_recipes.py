"""Every experiment file, compiled for a card: `pytest -m recipes tests/dry_run/test_recipes.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from settings import ROOT

from beit_exp.dry_run import stubs
from beit_exp.dry_run.simulation import CANN
from beit_exp.errors import UserError

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


def can_simulate() -> bool:
    try:
        stubs.check_platform()
    except UserError:
        return False
    return not CANN.exists()


@pytest.mark.recipes
@pytest.mark.skipif(not can_simulate(), reason="stubs are made on Linux with x86-64 and gcc")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_recipe_compiles_to_kernels_of_a_card_alone(experiment: str, tmp_path: Path) -> None:
    """Two blocks of the network stand for all, which are alike; every shape is the recipe's."""
    words = [f"experiment={experiment}", "model.depth=2", f"dataset.data_url={tmp_path / 'none'}"]
    told = ["--json", str(tmp_path / "found.json")]
    done = subprocess.run(
        [sys.executable, "-m", "beit_exp.doctor", "--dry-run", "ascend", *words, *told],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stages = json.loads((tmp_path / "found.json").read_text())["stages"]
    for stage in stages:
        assert not any(stage["findings"].values()), stage["findings"]
        print(
            f"{experiment}: {stage['title']}, {stage['seconds']:.0f} s, "
            f"{stage['planned_bytes'] / 2**20:,.0f} MB planned"
        )
