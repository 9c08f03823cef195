"""Laws over the graphs that MindSpore's front end makes of a step on Ascend."""

from __future__ import annotations

import pytest

from beit_exp.config.mapping import build_config
from beit_exp.dry_run import findings
from beit_exp.dry_run.front_end import front_end_graphs
from beit_exp.dry_run.graphs import Graph
from beit_exp.launch.overrides import typed_values

SMALL = (
    "hardware=ascend",
    "model.embed_dim=32",
    "model.depth=1",
    "model.num_heads=2",
    "model.patch_size=16",
    "model.drop_path_rate=0.1",
    "train.batch_size=4",
    "train.accumulate_steps=2",
    "train.ema_decay=0.9",
)


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    """Every graph that a step can have, and that of an evaluation."""
    return front_end_graphs(build_config(typed_values(list(SMALL))))


def test_a_step_is_made_of_few_graphs(graphs: list[Graph]) -> None:
    assert [graph.cell for graph in graphs] == [
        *("GradientCell", "GradientCell", "UpdateCell", "ClearCell", "BEiT")
    ]


def test_no_graph_calls_python_or_leaves_a_shape_open_or_computes_in_float64(
    graphs: list[Graph],
) -> None:
    nodes = [node for graph in graphs for node in graph.nodes]
    assert len(nodes) > 500
    assert findings.callbacks(nodes) == []
    assert findings.open_shapes(nodes) == []
    assert findings.double_precision(nodes) == []


def test_the_products_of_an_evaluation_are_all_in_half_precision(graphs: list[Graph]) -> None:
    found = findings.products(graphs[-1].nodes)
    assert {(one.op, one.detail) for one in found} == {
        ("MatMul", "Float16"),
        ("BatchMatMul", "Float16"),
    }
