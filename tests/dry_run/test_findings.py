from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.dry_run import findings
from beit_exp.dry_run.findings import Finding
from beit_exp.dry_run.graphs import Node, parse_graph

EXCERPTS = Path(__file__).parent / "excerpts"


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """The excerpts' code lies there."""
    monkeypatch.setattr(findings, "PACKAGE", Path("/project/beit_exp"))


def nodes(name: str) -> tuple[Node, ...]:
    return parse_graph((EXCERPTS / name).read_text()).nodes


CARD = "graph_build_0_0613.ir"


def test_products_are_counted_by_the_element_types_of_their_operands() -> None:
    found = findings.products(nodes(CARD))
    assert sorted((one.op, one.detail, one.count) for one in found) == [
        ("BatchMatMul", "Float16", 1),
        ("MatMul", "Float16", 1),
        ("MatMul", "Float32", 1),
        ("MatMulExt", "Float32", 1),
    ]


def test_a_finding_names_the_line_of_ours() -> None:
    (found,) = [one for one in findings.products(nodes(CARD)) if one.op == "MatMulExt"]
    assert found.places[0].startswith("beit_exp/train/step.py:122  ops.matmul(ops.reshape(gradient")


def test_collectives_are_counted_with_their_bytes() -> None:
    (found,) = findings.collectives(nodes(CARD))
    assert (found.op, found.detail, found.count) == ("AllReduce", "Float32", 3)
    assert found.size_bytes == 4 * (1 + 128 + 17 * 128)
    assert len(found.places) == 2  # of the loss, and of gradients


def test_findings_of_two_graphs_are_told_as_one() -> None:
    found = findings.collectives(nodes(CARD))
    (both,) = findings.together([found, found])
    assert (both.count, both.size_bytes) == (6, 2 * found[0].size_bytes)
    assert both.places == found[0].places


def test_what_calls_python_is_found() -> None:
    assert findings.callbacks(nodes("21_validate_0276.ir")) == [
        Finding("PyExecute", "", 1, 0, ("beit_exp/odd.py:7  def construct(self,a):",))
    ]
    assert findings.callbacks(nodes(CARD)) == []


def test_open_shapes_are_found_with_what_is_open() -> None:
    (found,) = findings.open_shapes(nodes("21_validate_0609.ir"))
    assert (found.op, found.detail) == ("NonZero", "(-1, 2)")
    assert found.places == ("beit_exp/odd.py:15  e=ops.nonzero(d)",)
    assert findings.open_shapes(nodes(CARD)) == []


def test_double_precision_is_found_where_it_begins_and_where_it_goes() -> None:
    found = findings.double_precision(nodes("21_validate_0609.ir"))
    assert [(one.op, one.count) for one in found] == [("Cast", 1), ("Muls", 1)]
    assert findings.double_precision(nodes(CARD)) == []


def test_operands_of_two_types_are_named_both() -> None:
    mixed = next(one for one in nodes("21_validate_0609.ir") if one.op == "NonZero")
    half = next(one for one in nodes(CARD) if one.op == "BatchMatMul")
    both = Node("MatMul", "", (half.inputs[0], mixed.inputs[0]), (), None, ())
    assert findings.operand_types(both) == "Float16 x Float32"


def test_what_has_no_line_of_ours_is_named_by_its_scope() -> None:
    assert findings.place_of(Node("Cast", "Default/Cast-op1", (), (), None, ())) == (
        "Default/Cast-op1"
    )
