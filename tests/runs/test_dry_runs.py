"""Every experiment file, compiled for a card: `pytest -m recipes`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def dry_run(folder: Path, *words: str) -> dict[str, Any]:
    """What the table of a dry run tells, which must have come to its end."""
    told = ["--json", str(folder / "found.json")]
    images = f"dataset.data_url={folder / 'none'}"
    done = subprocess.run(
        [sys.executable, "-m", "beit_exp.doctor", "--dry-run", "ascend", *words, images, *told],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads((folder / "found.json").read_text()))


pytestmark = [
    pytest.mark.recipes,
    pytest.mark.skipif(not can_simulate(), reason="stubs are made on Linux with x86-64 and gcc"),
]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_recipe_compiles_to_kernels_of_a_card_alone(experiment: str, tmp_path: Path) -> None:
    """Two blocks of the network stand for all, which are alike; every shape is the recipe's."""
    for stage in dry_run(tmp_path, f"experiment={experiment}", "model.depth=2")["stages"]:
        assert not any(stage["findings"].values()), stage["findings"]
        print(
            f"{experiment}: {stage['title']}, {stage['seconds']:.0f} s, "
            f"{stage['planned_bytes'] / 2**20:,.0f} MB planned"
        )


@pytest.mark.parametrize(
    ("card", "launches", "planned_mb"), [("910A", 1_900, 9_200), ("910B", 1_500, 11_000)]
)
def test_a_step_of_the_published_recipe_stays_within_bounds(
    card: str, launches: int, planned_mb: int, tmp_path: Path
) -> None:
    found = dry_run(tmp_path, "experiment=imagenet_base", "hardware=ascend_8p", "--card", card)
    (stage,) = found["stages"]
    assert not any(stage["findings"].values())
    assert stage["launches_per_step"] <= launches
    assert stage["planned_bytes"] <= planned_mb * 2**20
    (reduced,) = stage["graphs"][0]["collectives"]
    assert reduced["op"] == "AllReduce" and reduced["count"] == 13
    products = [one for graph in stage["graphs"] for one in graph["products"]]
    assert {one["detail"] for one in products} == {"Float16"}
