"""MindSpore's dumps of its compiled graphs, read: which operators they hold, of which element types
and shapes, and the lines of code that they come from.

Read is the text that MindSpore 2.10 writes with MS_DEV_SAVE_GRAPHS: `*_validate_*.ir` is the last
of the front end, `graph_build_*.ir` that for which the device's kernels are chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FRONT_END, BUILT = "validate", "graph_build"  # names of dumps, as MS_DEV_DUMP_IR_PASSES takes them
WITHOUT_KERNEL = {  # what orders and groups values
    *("Depend", "Load", "MakeTuple", "Partial", "Return", "TupleGetItem", "UpdateState")
}
BYTES = {"Float64": 8, "Int64": 8, "Float16": 2, "BFloat16": 2, "Int16": 2, "Int8": 1, "Bool": 1}
ENTRY = re.compile(r"# IR entry: @(\S+)")
CELL = re.compile(r"_([A-Z][A-Za-z0-9]*)_construct_\d+$")
NODE = re.compile(r"  %\d+\([^=]*?\) = (?:PrimFunc_)?(\w+)\(")
TARGET = re.compile(r'primitive_target: "(\w+)"')
STARTS = ("  %", "  Return(", "}")  # of an operator's lines
TYPES = "      : ("
SCOPE = re.compile(r"# Fullname with scope: \((.*)\)")
PLACE = re.compile(
    r"^ +# In file (.+?):(\d+)(?:~\d+)?(?:, \d+~\d+)?/(.*?)/(?:<~~.*)?$", re.MULTILINE
)
ELEMENTS = re.compile(r"Tensor\)?\[(\w+)\]\]?(?:\*(\d+))?")
SHAPE = re.compile(r"\(((?:-?\d+(?:, )?)*)\)")
SCALAR = re.compile(r"(Bool|U?Int\d+|B?Float\d+), NoShape$")


@dataclass(frozen=True)
class Value:
    """What goes into an operator, or comes out: a tensor, or a number."""

    dtype: str  # MindSpore's name: Float16
    shape: tuple[int, ...] | None  # -1: an open length, -2: an open rank; None: no tensor

    @property
    def is_open(self) -> bool:
        return self.shape is not None and min(self.shape, default=0) < 0

    @property
    def size_bytes(self) -> int:
        """Of a tensor whose shape is known; of anything else 0."""
        if self.shape is None or self.is_open:
            return 0
        return math.prod(self.shape) * BYTES.get(self.dtype, 4)


@dataclass(frozen=True)
class Place:
    """A line of code."""

    file: str
    line: int
    code: str


@dataclass(frozen=True)
class Node:
    """An operator in a graph."""

    op: str
    scope: str  # of cells, and the operator's number in it
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    target: str | None  # the device that it is bound to; None: that of the process
    places: tuple[Place, ...]  # from the outermost call to the innermost

    @property
    def is_open(self) -> bool:
        """Whether a shape is not known before it runs."""
        return any(value.is_open for value in (*self.inputs, *self.outputs))

    def place_below(self, folder: Path) -> Place | None:
        """The innermost line of code in a folder."""
        own = [place for place in self.places if Path(place.file).is_relative_to(folder)]
        return own[-1] if own else None


@dataclass(frozen=True)
class Graph:
    """A compiled graph, with those that it calls."""

    name: str
    nodes: tuple[Node, ...]  # those that compute, in the order of the dump

    @property
    def cell(self) -> str:
        """The class that it is the `construct` of; the whole name where that is not told."""
        found = CELL.search(self.name)
        return found[1] if found else self.name


def read_graphs(folder: Path, *, dump: str) -> list[Graph]:
    """Every dump of that name at or below a folder, in the order of writing."""

    def number(path: Path) -> int:
        return int(path.stem.rpartition("_")[2])

    paths = sorted(folder.rglob(f"*{dump}_*.ir"), key=number)
    return [parse_graph(path.read_text(errors="replace")) for path in paths]


def parse_graph(text: str) -> Graph:
    """The graph in the text of a dump."""
    entry = ENTRY.search(text)
    if entry is None:
        raise ValueError("no dump of a graph: it lacks the line '# IR entry'")
    nodes = tuple(node for lines in _blocks(text) if (node := _node(lines)) is not None)
    return Graph(entry[1], nodes)


def _blocks(text: str) -> Iterator[list[str]]:
    """The lines of each operator: a constant in its first may go over several."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(STARTS):
            yield lines
            lines = []
        lines.append(line)
    yield lines


def _node(lines: list[str]) -> Node | None:
    """None for what computes nothing."""
    head = NODE.match(lines[0]) if lines else None
    if head is None or head[1] in WITHOUT_KERNEL:
        return None
    types = next((line for line in lines if line.startswith(TYPES)), "")
    before, _, after = types.partition(" -> ")
    told = "\n".join(lines)
    scope, target = SCOPE.search(told), TARGET.search(told)
    return Node(
        op=head[1],
        scope=scope[1] if scope else "",
        inputs=tuple(_values(before)),
        outputs=tuple(_values(after)),
        target=target[1] if target else None,
        places=tuple(
            Place(file, int(line), code.strip()) for file, line, code in PLACE.findall(told)
        ),
    )


def _values(text: str) -> Iterator[Value]:
    """Of `(<Tensor[Float16], (2, 3)>, <Int64, NoShape>)`; those in tuples one by one."""
    for item in _items(text):
        kept = re.split(r", (?:ref_key|elements_use_flags)=", item)[0]
        dtypes = [dtype for dtype, count in ELEMENTS.findall(kept) for _ in range(int(count or 1))]
        shapes = [
            tuple(int(length) for length in found.split(", ") if length)
            for found in SHAPE.findall(kept)
        ]
        if len(dtypes) == len(shapes):
            yield from map(Value, dtypes, shapes)
        else:  # a shape of a kind that is not known here
            yield from (Value(dtype, None) for dtype in dtypes)
        if scalar := SCALAR.match(kept):
            yield Value(scalar[1], None)


def _items(text: str) -> Iterator[str]:
    """What stands between outermost angle brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        if letter == "<":
            depth += 1
            start = place + 1 if depth == 1 else start
        elif letter == ">":
            depth -= 1
            if depth == 0:
                yield text[start:place]
