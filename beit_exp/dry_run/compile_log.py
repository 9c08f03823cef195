"""MindSpore's log of a dry run, read: what was compiled in how many seconds, which kernels were
chosen for it, how often it ran, and the first error.

The lines are those of MindSpore 2.10 at the levels that `LEVELS` sets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

LEVELS = {  # of the log: warnings, and what these modules tell besides
    "GLOG_v": "2",
    "GLOG_logtostderr": "1",
    "MS_SUBMODULE_LOG_v": "{PIPELINE:1,SESSION:1,DEVICE:1,VM:1}",
}
KINDS = {  # MindSpore's kinds of kernel -> what they are called where CANN is known
    "opapi_kernel": "aclnn",
    "acl_kernel": "aclop",
    "akg_kernel": "fused",  # made by MindSpore's compiler from neighbouring operators
    "hccl_kernel": "hccl",
    "rt_kernel": "view",  # Reshape: the same memory by another shape, so nothing is launched
}
START = re.compile(r"\] Start compiling '(.+?)'")
PHASE = re.compile(r"\] Start compiling, phase: (\w+)\.")
OPTIMIZED = re.compile(r"start common optimization. graph id: (\d+)")
KERNEL = re.compile(r"\] kernel opname:(\w+), kernel type:(\w+)")
LAUNCHED = re.compile(r"\] Graph (\d+) execution order")
BUILT = re.compile(r"Backend build graph, .*backend graph id: (\d+)")
END = re.compile(r"\[PROF\]compile_graph costs ([\d.e+]+) msec")
RUN = re.compile(r"Backend run graph: (\d+),")
ERROR = re.compile(r"^\[(?:ERROR|CRITICAL)\] (?!.*_check_version\.py).*?\] ?(?:\w+\] )?(.*)")


@dataclass
class Compilation:
    """One graph of the front end, compiled."""

    name: str  # of the function: GradientCell.construct
    phase: str  # train or predict
    seconds: float | None = None  # None: it never ended
    kernels: Counter[tuple[str, str]] = field(default_factory=Counter)  # (operator, kind) -> number
    graphs: list[int] = field(default_factory=list)  # the kernel graphs that it became,
    on_card: set[int] = field(default_factory=set)  # and those of them that the card runs
    backend_graph: int | None = None
    runs: int = 0

    @property
    def launches(self) -> int:
        """Kernels that a run of it launches on the card."""
        return sum(count for (_, kind), count in self.kernels.items() if kind != "view")


@dataclass
class CompileLog:
    """All that was compiled, in order."""

    compilations: list[Compilation] = field(default_factory=list)
    eager: Counter[tuple[str, str]] = field(default_factory=Counter)  # kernels outside any graph
    error: str | None = None  # the first


def read_log(lines: Iterable[str]) -> CompileLog:
    """What the lines tell."""
    log = CompileLog()
    current: Compilation | None = None
    phase = ""
    for line in lines:
        if found := KERNEL.search(line):
            kernels = log.eager if current is None else current.kernels
            kernels[found[1], kind_of(found[2])] += 1
        elif found := PHASE.search(line):
            phase = found[1]
        elif found := START.search(line):
            current = Compilation(found[1], phase)
            log.compilations.append(current)
        elif found := RUN.search(line):
            for compilation in log.compilations:
                compilation.runs += compilation.backend_graph == int(found[1])
        elif log.error is None and (found := ERROR.match(line)):
            log.error = found[1]
        elif current is not None:
            if found := END.search(line):
                current.seconds = float(found[1]) / 1000
                current = None
            else:
                _note_graph(current, line)
    return log


def _note_graph(current: Compilation, line: str) -> None:
    """Which kernel graphs a compilation under way makes."""
    if found := OPTIMIZED.search(line):
        current.graphs.append(int(found[1]))
    elif found := LAUNCHED.search(line):
        current.on_card.add(int(found[1]))
    elif found := BUILT.search(line):
        current.backend_graph = int(found[1])


def kind_of(kernel_type: str) -> str:
    """aclnn, aclop, hccl, view; of the rarer ones MindSpore's own name."""
    return KINDS.get(kernel_type, kernel_type.removesuffix("_kernel"))
