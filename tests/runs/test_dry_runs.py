"""Every experiment file, compiled for a card: `pytest -m recipes`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from settings import ROOT
from whole_runs import dry_run, needs_simulation

TOKENIZER, TEACHER = "tokenizer.weights=none.pth", "tokenizer.teacher=none.pth"
FILES = {  # that a recipe names, and none of which is there
    **{name: [TOKENIZER] for name in ("pretrain_base", "pretrain_base_1k", "pretrain_large")},
    "pretrain_v2_base": [TOKENIZER, "tokenizer.depth=2", "mask.early_block=1"],
    "pretrain_digits_v2": [TEACHER, "mask.early_block=1"],
    "vqkd_base": [TEACHER, "tokenizer.depth=2", "tokenizer.decoder_depth=1"],
}
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
    words = [f"experiment={experiment}", "model.depth=2", *FILES.get(experiment, [])]
    for stage in found_by(tmp_path, *words)["stages"]:
        assert not any(stage["findings"].values()), stage["findings"]
        print(
            f"{experiment}: {stage['title']}, {stage['seconds']:.0f} s, "
            f"{stage['planned_bytes'] / 2**20:,.0f} MB planned"
        )


class Bounds(NamedTuple):
    """What a step of a whole network may take on one of eight cards."""

    launches: int
    planned_mb: int
    all_reduces: int
    reduced_mb: int


@pytest.mark.parametrize(
    ("words", "card", "bounds"),
    [
        (["experiment=imagenet_base"], "910A", Bounds(1_720, 9_200, 13, 360)),
        (["experiment=imagenet_base"], "910B", Bounds(1_340, 11_000, 13, 360)),
        (["experiment=imagenet_large_512"], "910A", Bounds(27_000, 27_000, 51, 1_250)),
        (["experiment=imagenet_large_512"], "910B", Bounds(20_400, 30_000, 51, 1_250)),
    ],
)
def test_a_step_of_a_published_recipe_stays_within_bounds(
    words: list[str], card: str, bounds: Bounds, tmp_path: Path
) -> None:
    found = found_by(tmp_path, *words, "hardware=ascend_8p", "--card", card)
    (stage,) = found["stages"]
    assert not any(stage["findings"].values())
    reduced = [one for graph in stage["graphs"] for one in graph["collectives"]]
    assert {one["op"] for one in reduced} == {"AllReduce"}
    seen = Bounds(
        stage["launches_per_step"],
        math.ceil(stage["planned_bytes"] / 2**20),
        sum(one["count"] for one in reduced),
        math.ceil(sum(one["size_bytes"] for one in reduced) / 2**20),
    )
    print(words, card, seen)
    assert all(count <= bound for count, bound in zip(seen, bounds, strict=True)), seen
    products = [one for graph in stage["graphs"] for one in graph["products"]]
    assert {one["detail"] for one in products} == {"Float16"}
