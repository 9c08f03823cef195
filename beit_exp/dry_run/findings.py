"""What to look for in compiled graphs: products and their element types, collectives, and what has
no place in a step on a card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from beit_exp.dry_run.graphs import Node, Place

PACKAGE = Path(__file__).resolve().parents[1]
PRODUCTS = {  # what a card does in its matrix unit
    *("MatMul", "MatMulExt", "BatchMatMul", "BatchMatMulExt", "Mm", "Bmm", "Addmm", "Baddbmm"),
    *("Dense", "LinearExt", "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"),
    *("Conv2DExt", "Convolution", "ConvolutionGrad", "Conv2DTranspose"),
    *("FlashAttentionScore", "FlashAttentionScoreGrad"),
}
COLLECTIVES = {
    *("AllReduce", "AllGather", "ReduceScatter", "Broadcast", "AlltoAll", "AlltoAllV", "Reduce"),
    *("Barrier", "Send", "Receive"),
}
CALLBACKS = {"PyExecute", "PyFunc", "PyInterpret"}  # the graph waits for Python


@dataclass(frozen=True)
class Finding:
    """Operators alike, how many of them, and the places that they come from."""

    op: str
    detail: str
    count: int
    size_bytes: int  # of their inputs
    places: tuple[str, ...]


def products(nodes: Iterable[Node]) -> list[Finding]:
    """Matrix products by the element types of their operands."""
    return group((node for node in nodes if node.op in PRODUCTS), operand_types)


def collectives(nodes: Iterable[Node]) -> list[Finding]:
    """What ranks send each other, by element type."""
    return group((node for node in nodes if node.op in COLLECTIVES), operand_types)


def callbacks(nodes: Iterable[Node]) -> list[Finding]:
    """Operators that call Python."""
    return group(node for node in nodes if node.op in CALLBACKS)


def open_shapes(nodes: Iterable[Node]) -> list[Finding]:
    """Operators with a shape that is known only when they run: the graph is dynamic."""
    return group((node for node in nodes if node.is_open), _shapes)


def double_precision(nodes: Iterable[Node]) -> list[Finding]:
    """Operators that take or give float64, which a card computes slowly or not at all."""
    return group(
        node
        for node in nodes
        if any(value.dtype == "Float64" for value in (*node.inputs, *node.outputs))
    )


def operand_types(node: Node) -> str:
    """Element types of the first two inputs: Float16, or Float16 x Float32."""
    kinds = [value.dtype for value in node.inputs if value.shape is not None][:2]
    return " x ".join(dict.fromkeys(kinds))


def _shapes(node: Node) -> str:
    found = [value.shape for value in (*node.inputs, *node.outputs) if value.is_open]
    return ", ".join(dict.fromkeys(map(str, found)))


def group(nodes: Iterable[Node], detail: Callable[[Node], str] = lambda _: "") -> list[Finding]:
    """Nodes of one operator and one detail together, the most frequent first."""
    kinds: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        kinds.setdefault((node.op, detail(node)), []).append(node)
    found = [
        Finding(
            op,
            text,
            len(alike),
            size_bytes=sum(value.size_bytes for node in alike for value in node.inputs),
            places=tuple(dict.fromkeys(map(place_of, alike))),
        )
        for (op, text), alike in kinds.items()
    ]
    return sorted(found, key=lambda one: (-one.count, one.op, one.detail))


def together(lists: Iterable[list[Finding]]) -> list[Finding]:
    """Those of several graphs, alike ones as one."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for one in chain.from_iterable(lists):
        kinds.setdefault((one.op, one.detail), []).append(one)
    return [
        Finding(
            op,
            detail,
            sum(one.count for one in alike),
            size_bytes=sum(one.size_bytes for one in alike),
            places=tuple(dict.fromkeys(place for one in alike for place in one.places)),
        )
        for (op, detail), alike in kinds.items()
    ]


def place_of(node: Node) -> str:
    """The line of ours that an operator comes from; else MindSpore's, else its scope."""
    own = node.place_below(PACKAGE)
    if own is not None:
        return _told(own, str(Path(own.file).relative_to(PACKAGE.parent)))
    if node.places:
        return _told(node.places[-1], node.places[-1].file)
    return node.scope


def _told(place: Place, file: str) -> str:
    return f"{file}:{place.line}  {place.code}"
