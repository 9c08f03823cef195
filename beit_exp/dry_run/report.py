"""What a dry run found, as a value, as JSON and as a table."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beit_exp.config.schema import Config
from beit_exp.dry_run import findings
from beit_exp.dry_run.compile_log import Compilation
from beit_exp.dry_run.findings import Finding
from beit_exp.dry_run.graphs import Graph, Node
from beit_exp.dry_run.simulation import Simulated, rank_environment
from beit_exp.hardware.cluster import world_size

NAMES_TOLD = 12
KINDS = ("aclnn", "aclop", "fused", "hccl", "host", "view")
HEADS = ("phase", "compiled", *KINDS, "launches", "runs")
TITLE, WIDTH = 24, 100  # characters of a row's title, and of a line
MEGABYTE = 1e6
STEP_CELLS = ("GradientCell", "UpdateCell", "ClearCell")  # of `train.cells`
GRAPH_NAME = "kernel_graph"  # and its number: what dumps call what the log numbers


@dataclass(frozen=True)
class GraphReport:
    """One compiled graph."""

    name: str
    phase: str
    compile_s: float | None
    kernels: dict[str, int]  # by kind
    kernel_names: list[tuple[str, str, int]]  # operator, kind, number; the most frequent first
    launches: int  # of a run
    runs: int
    products: list[Finding]
    collectives: list[Finding]


@dataclass(frozen=True)
class StageReport:
    """One worker's run."""

    task: str
    title: str
    seconds: float
    graphs: list[GraphReport]
    steps: int
    launches_per_step: float
    eager_kernels: list[tuple[str, str, int]]  # compiled for an operator that stands alone
    gathered_bytes: list[int]  # of each collective outside the graphs
    planned_bytes: int | None  # by MindSpore; None if the worker was killed
    computed_bytes: int | None  # by our own count
    findings: dict[str, list[Finding]]  # what -> where it is; empty lists are good
    failure: str | None  # why the run did not come to its end


def build_stage(cfg: Config, done: Simulated) -> StageReport:
    """Put together what the log, the dumps and the worker itself told."""
    built = {graph.name: graph for graph in done.graphs}
    told = [
        (one, [built[name] for name in names_of(one) if name in built])
        for one in done.log.compilations
    ]
    rows = [build_graph(compilation, own) for compilation, own in told]
    stepping = [row for row in rows if is_of_step(row) and row.runs > 0]
    steps = min((row.runs for row in stepping), default=0)  # the update runs once in each
    nodes = [node for _, own in told for graph in own for node in graph.nodes]
    on_host = [node for compilation, own in told for node in host_nodes(compilation, own)]
    return StageReport(
        cfg.task,
        title_of(cfg),
        done.seconds,
        graphs=rows,
        steps=steps,
        launches_per_step=sum(row.launches * row.runs for row in stepping) / max(1, steps),
        eager_kernels=_by_number(done.log.eager),
        gathered_bytes=done.facts["gathered_bytes"],
        planned_bytes=done.facts["planned_bytes"],
        computed_bytes=done.facts["computed_bytes"],
        findings={
            "host callbacks": findings.callbacks(nodes),
            "open shapes": findings.open_shapes(nodes),
            "Float64": findings.double_precision(nodes),
            "kernels on the host": findings.group(on_host),
        },
        failure=done.failure,
    )


def build_graph(compilation: Compilation, graphs: list[Graph]) -> GraphReport:
    """Of one compilation, and the kernel graphs that it became."""
    counted = Counter(compilation.kernels)
    counted.update((node.op, "host") for node in host_nodes(compilation, graphs))
    kinds: Counter[str] = Counter()
    for (_, kind), count in counted.items():
        kinds[kind] += count
    nodes = [node for graph in graphs for node in graph.nodes]
    return GraphReport(
        compilation.name,
        compilation.phase,
        compilation.seconds,
        kernels=dict(kinds),
        kernel_names=_by_number(counted),
        launches=compilation.launches,
        runs=compilation.runs,
        products=findings.products(nodes),
        collectives=findings.collectives(nodes),
    )


def names_of(compilation: Compilation) -> list[str]:
    """Of the dumps of its kernel graphs."""
    return [f"{GRAPH_NAME}{number}" for number in compilation.graphs]


def host_nodes(compilation: Compilation, graphs: list[Graph]) -> Iterator[Node]:
    """What the host computes: whole graphs that the card does not run, or single operators."""
    on_card = {f"{GRAPH_NAME}{number}" for number in compilation.on_card}
    for graph in graphs:
        yield from (
            node for node in graph.nodes if graph.name not in on_card or node.target == "CPU"
        )


def is_of_step(row: GraphReport) -> bool:
    """Whether a training step runs it."""
    return row.name.partition(".")[0] in STEP_CELLS


def title_of(cfg: Config) -> str:
    network = f"{cfg.model.arch}, {cfg.model.image_size} px, batch {cfg.train.batch_size}"
    rank = rank_environment(cfg.hardware).get("RANK_ID", "0")
    return f"{network}, {cfg.hardware.amp_level}, rank {rank} of {world_size(cfg.hardware)}"


def as_json(about: dict[str, Any], stages: Sequence[StageReport]) -> dict[str, Any]:
    """The same as plain values; `about` is what is true of the whole dry run."""
    return {**about, "stages": [asdict(stage) for stage in stages]}


def table(stage: StageReport) -> str:
    """What a person reads; findings that should not be begin with exclamation marks."""
    lines = [f"task={stage.task}: {stage.title}  ({stage.seconds:.0f} s in all)", ""]
    lines += _aligned([["graph", *HEADS], *map(_graph_row, stage.graphs)])
    lines.append("")
    indent = " " * (TITLE + 1)
    for title, text in _facts(stage):
        lines += textwrap.wrap(f"{title:{TITLE}} {text}", WIDTH, subsequent_indent=indent)
    step = [row for row in stage.graphs if is_of_step(row) or not stage.steps]
    lines += _listed("matrix products", findings.together(row.products for row in step))
    lines += _listed("collectives", findings.together(row.collectives for row in step), sizes=True)
    lines.append("")
    for what, found in stage.findings.items():
        lines += _listed(f"{'!!' if found else 'ok'}  {what}", found)
    if stage.failure is not None:
        lines += ["", f"!!  {stage.failure}"]
    return "\n".join(lines)


def _graph_row(row: GraphReport) -> list[str]:
    took = "failed" if row.compile_s is None else f"{row.compile_s:.1f} s"
    kinds = [f"{row.kernels.get(kind, 0):,}" for kind in KINDS]
    return [row.name, row.phase, took, *kinds, f"{row.launches:,}", str(row.runs)]


def _facts(stage: StageReport) -> Iterator[tuple[str, str]]:
    if stage.steps:
        yield "launches a step", f"{stage.launches_per_step:,.0f}, over {stage.steps} steps"
    for kind in KINDS:
        names: Counter[str] = Counter()
        for row in stage.graphs:
            if is_of_step(row) or not stage.steps:
                names.update({op: count for op, own, count in row.kernel_names if own == kind})
        told = [f"{name} {count:,}" for name, count in names.most_common(NAMES_TOLD)]
        if len(names) > len(told):
            told.append(f"{len(names) - len(told)} others")
        if told:
            yield kind, ", ".join(told)
    if stage.planned_bytes is not None:
        yield "peak memory", _memory(stage.planned_bytes, stage.computed_bytes)
    if stage.gathered_bytes:
        sent = sum(stage.gathered_bytes) / MEGABYTE
        yield "outside graphs", f"AllGather {len(stage.gathered_bytes)} times, {sent:,.3f} MB"


def _memory(planned: int, computed: int | None) -> str:
    beside = "" if computed is None else f"; by our own count {computed / MEGABYTE:,.0f} MB"
    without = "without the workspaces that CANN's kernels ask for"
    return f"planned {planned / MEGABYTE:,.0f} MB, {without}{beside}"


def _listed(title: str, found: list[Finding], *, sizes: bool = False) -> Iterator[str]:
    """Each kind on a line, with the first place that it comes from."""
    yield f"{title:{TITLE}} {sum(one.count for one in found) or 'none'}"
    for one in found:
        amount = f", {one.size_bytes / MEGABYTE:,.3f} MB" if sizes else ""
        what = f"{one.op} {one.detail}{amount}".rstrip()
        others = len(one.places) - 1
        more = f"  (and {others} more)" if others > 0 else ""
        yield f"{one.count:9,}  {what}: {one.places[0]}{more}"


def _by_number(kernels: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    return [(op, kind, count) for (op, kind), count in kernels.most_common()]


def _aligned(rows: list[list[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
