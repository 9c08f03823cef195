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


pytestmark = pytest.mark.slow


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


def test_every_product_is_in_half_precision(graphs: list[Graph]) -> None:
    found = [one for graph in graphs for one in findings.products(graph.nodes)]
    assert {(one.op, one.detail) for one in found} == {
        ("MatMul", "Float16"),
        ("BatchMatMul", "Float16"),
    }


# Softmax's gradient is the one that subtracts
STATISTICS = {
    *("Softmax", "LayerNorm", "LayerNormGrad", "LogSoftmax", "LogSoftmaxGrad", "Sub"),
    *("Sqrt", "Square", "UnsortedSegmentSum"),
}


def results(graphs: list[Graph], kinds: set[str]) -> dict[str, set[str]]:
    """Of each kind of operator, the element types that it gives."""
    found: dict[str, set[str]] = {}
    for node in (node for graph in graphs for node in graph.nodes if node.op in kinds):
        found.setdefault(node.op, set()).add(node.outputs[0].dtype)
    return found


def test_sums_and_statistics_between_half_products_are_in_float32(graphs: list[Graph]) -> None:
    kinds = STATISTICS | {"SumExt", "Mul", "Erf", "Exp", "ReduceMean", "AddN"}
    assert results(graphs, kinds) == {kind: {"Float32"} for kind in kinds}


def test_activations_in_half_precision_leave_statistics_in_float32() -> None:
    words = [*SMALL, "hardware.amp_level=O2"]
    graphs = front_end_graphs(build_config(typed_values(words)))
    assert results(graphs, STATISTICS) == {kind: {"Float32"} for kind in STATISTICS}
    assert results(graphs, {"Erf"}) == {"Erf": {"Float16"}}
    sums = [node for graph in graphs for node in graph.nodes if node.op == "SumExt"]
    halves = {findings.place_of(node) for node in sums if node.outputs[0].dtype == "Float16"}
    # Of the batch's images alone, a few numbers each: they are activations
    assert {place.partition("  ")[2].split()[0] for place in halves} == {"cls_B1D", "x_BND"}
    assert all("model/beit.py" in place for place in halves)
