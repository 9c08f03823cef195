"""Excerpts of real dumps: a graph with what must not be there, one for the host, one for a card."""

from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.dry_run.graphs import (
    BUILT,
    FRONT_END,
    Graph,
    Node,
    Place,
    Value,
    parse_graph,
    read_graphs,
)

EXCERPTS = Path(__file__).parent / "excerpts"


def graph(name: str) -> Graph:
    return parse_graph((EXCERPTS / name).read_text())


def node(found: Graph, op: str) -> Node:
    return next(one for one in found.nodes if one.op == op)


@pytest.fixture(scope="module")
def card() -> Graph:
    return graph("graph_build_0_0613.ir")


def test_operators_are_read_in_order_without_what_computes_nothing() -> None:
    assert [one.op for one in graph("21_validate_0609.ir").nodes] == [
        *("MatMul", "Cast", "Muls", "Sin", "NonZero")
    ]


def test_a_graph_of_the_front_end_names_its_cell_and_a_built_one_its_number(card: Graph) -> None:
    assert graph("21_validate_0276.ir").cell == "Nothing"
    assert graph("21_validate_0522.ir").cell == "GradientCell"
    assert card.cell == card.name == "kernel_graph0"


def test_element_types_and_shapes_are_those_of_each_operand(card: Graph) -> None:
    product = node(card, "BatchMatMul")
    half = Value("Float16", (64, 4, 17, 32))
    flags = (Value("Bool", None), Value("Bool", None))
    assert product.inputs == (half, half, *flags)
    assert product.outputs == (Value("Float16", (64, 4, 17, 17)),)


def test_tuples_are_read_value_by_value(card: Graph) -> None:
    norm = node(card, "LayerNorm")
    assert [value.shape for value in norm.outputs] == [(1088, 128), (1088, 1), (1088, 1)]
    parts = node(card, "SplitWithSize").outputs
    assert {value.dtype for value in parts} == {"Float32"} and len(parts) == 2


def test_a_parameter_is_a_tensor() -> None:
    assigned = node(graph("21_validate_0276.ir"), "Assign")
    assert assigned.inputs == (Value("Float32", (4, 4)), Value("Float32", (4, 4)))


def test_a_constant_over_several_lines_ends_no_operator() -> None:
    (product,) = graph("21_validate_0522.ir").nodes
    assert product.inputs[:2] == (Value("Float32", (4, 1)), Value("Float32", (1, 5)))
    assert product.places[-1].line == 88


def test_open_shapes_are_seen() -> None:
    found = graph("21_validate_0609.ir")
    assert [one.op for one in found.nodes if one.is_open] == ["NonZero"]
    call = node(graph("21_validate_0276.ir"), "PyExecute")
    assert call.outputs == (Value("Float64", (-2,)),) and call.is_open


def test_an_operator_bound_to_the_host_says_so(card: Graph) -> None:
    assert node(graph("graph_build_4_0662.ir"), "Sin").target == "CPU"
    assert {one.target for one in card.nodes} == {None}


def test_places_go_from_the_outermost_call_to_the_innermost() -> None:
    cast = node(graph("21_validate_0609.ir"), "Cast")
    first, *_, last = cast.places
    assert first == Place("/project/beit_exp/odd.py", 12, "def construct(self,a,b):")
    assert last.file.endswith("gen_ops_def.py") and last.code == "return cast_op(input, dtype)"
    assert cast.place_below(Path("/project/beit_exp")) == Place(
        "/project/beit_exp/odd.py", 16, "return ops.cast(c,ms.float64)*2, e"
    )
    assert cast.place_below(Path("/elsewhere")) is None


def test_bytes_are_counted_where_the_shape_is_known() -> None:
    assert Value("Float16", (2, 3)).size_bytes == 12
    assert Value("Float32", ()).size_bytes == 4
    assert Value("Float32", (-1, 3)).size_bytes == Value("Int64", None).size_bytes == 0


def test_dumps_are_read_in_the_order_of_writing_whatever_the_folder() -> None:
    assert [found.name for found in read_graphs(EXCERPTS.parent, dump=BUILT)] == [
        *("kernel_graph0", "kernel_graph4")
    ]
    assert [found.cell for found in read_graphs(EXCERPTS, dump=FRONT_END)] == [
        *("Nothing", "GradientCell", "Odd")
    ]


def test_other_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no dump of a graph"):
        parse_graph("subgraph @x() {\n}\n")
