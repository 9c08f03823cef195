"""Every experiment file, compiled for a card: `pytest -m recipes`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from settings import ROOT
from whole_runs import dry_run, needs_simulation

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


pytestmark = [pytest.mark.recipes, needs_simulation]


def found_by(folder: Path, *words: str) -> dict[str, Any]:
    """What the table of a dry run tells, which must have come to its end."""
    told = [f"dataset.data_url={folder / 'none'}", "--json", str(folder / "found.json")]
    done = dry_run(folder, *words, *told)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads((folder / "found.json").read_text()))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_recipe_compiles_to_kernels_of_a_card_alone(experiment: str, tmp_path: Path) -> None:
    """Two blocks of the network stand for all, which are alike; every shape is the recipe's."""
    for stage in found_by(tmp_path, f"experiment={experiment}", "model.depth=2")["stages"]:
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
    found = found_by(tmp_path, "experiment=imagenet_base", "hardware=ascend_8p", "--card", card)
    (stage,) = found["stages"]
    assert not any(stage["findings"].values())
    assert stage["launches_per_step"] <= launches
    assert stage["planned_bytes"] <= planned_mb * 2**20
    (reduced,) = stage["graphs"][0]["collectives"]
    assert reduced["op"] == "AllReduce" and reduced["count"] == 13
    products = [one for graph in stage["graphs"] for one in graph["products"]]
    assert {one["detail"] for one in products} == {"Float16"}
