from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from beit_exp.config.mapping import build_config
from beit_exp.dry_run import findings
from beit_exp.dry_run.compile_log import read_log
from beit_exp.dry_run.graphs import Graph, parse_graph
from beit_exp.dry_run.report import STEP_CELLS, StageReport, as_json, build_stage, table
from beit_exp.dry_run.simulation import Simulated
from beit_exp.launch.overrides import typed_values
from beit_exp.train.cells import ClearCell, GradientCell, UpdateCell

EXCERPTS = Path(__file__).parent / "excerpts"


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """The excerpts' code lies there."""
    monkeypatch.setattr(findings, "PACKAGE", Path("/project/beit_exp"))


def stage(log: str, graphs: list[Graph], *overrides: str, gathered: list[int]) -> StageReport:
    facts = {
        "planned_bytes": 8_565_000_000,
        "computed_bytes": 8_534_000_000,
        "gathered_bytes": gathered,
    }
    told = read_log((EXCERPTS / log).read_text().splitlines())
    cfg = build_config(typed_values(["hardware=ascend", *overrides]))
    return build_stage(cfg, Simulated(told, graphs, facts, seconds=61.5))


@pytest.fixture
def training() -> StageReport:
    card = parse_graph((EXCERPTS / "graph_build_0_0613.ir").read_text())
    return stage("training.log", [card], "hardware=ascend_8p", gathered=[64, 32, 16000])


@pytest.fixture
def odd() -> StageReport:
    """A callback, an open shape and a kernel on the host, in graphs that the card does not run."""
    call = parse_graph((EXCERPTS / "21_validate_0276.ir").read_text())
    host = parse_graph((EXCERPTS / "graph_build_4_0662.ir").read_text())
    return stage("odd.log", [Graph("kernel_graph1", call.nodes[:1]), host], gathered=[])


def test_a_step_launches_what_its_graphs_launch(training: StageReport) -> None:
    assert training.steps == 2
    assert training.launches_per_step == sum(row.launches for row in training.graphs[:2])


def test_the_graphs_of_a_step_are_the_cells_of_training() -> None:
    assert {cell.__name__ for cell in (GradientCell, UpdateCell, ClearCell)} == set(STEP_CELLS)


def test_what_a_graph_holds_is_told_with_it(training: StageReport) -> None:
    gradients, update, _ = training.graphs
    assert gradients.kernels == {"view": 3, "aclnn": 2}
    assert sum(one.count for one in gradients.products) == 4
    assert [one.count for one in gradients.collectives] == [3]
    assert update.products == update.collectives == []


def test_a_sound_run_has_no_findings(training: StageReport) -> None:
    assert set(training.findings) == {
        *("host callbacks", "open shapes", "Float64", "kernels on the host")
    }
    assert not any(training.findings.values())
    assert "!!" not in table(training)


def test_what_does_not_belong_on_a_card_is_marked_with_its_line(odd: StageReport) -> None:
    found = {what: [one.op for one in places] for what, places in odd.findings.items()}
    assert found == {
        "host callbacks": ["PyExecute"],
        "open shapes": ["PyExecute"],
        "Float64": ["PyExecute"],
        "kernels on the host": ["PyExecute", "Sin"],
    }
    assert odd.graphs[0].kernels["host"] == odd.graphs[1].kernels["host"] == 1
    lines = table(odd).splitlines()
    assert sum(line.startswith("!!") for line in lines) == 4
    assert any("Sin: beit_exp/odd.py:14  d=self.host(c)" in line for line in lines)


def test_the_table_says_what_was_asked_for(training: StageReport) -> None:
    text = table(training)
    for part in (
        "task=finetune: beit_micro, 32 px, batch 64, O1, rank 0 of 8  (62 s in all)",
        "GradientCell.construct    train    17.9 s",
        "planned 8,565 MB",
        "by our own count 8,534 MB",
        "AllReduce Float32, 0.009 MB",
        "AllGather 3 times, 0.016 MB",
        "MatMulExt Float32: beit_exp/train/step.py:122",
    ):
        assert part in " ".join(text.split()) or part in text
    assert "failed" not in text


def test_a_graph_that_did_not_compile_says_so(odd: StageReport) -> None:
    (row,) = [line for line in table(odd).splitlines() if line.startswith("Odd.construct")]
    assert "failed" in row.split()


def test_a_run_that_was_killed_is_told_with_what_is_known(training: StageReport) -> None:
    killed = replace(training, planned_bytes=None, failure="the worker was killed by signal 9")
    text = table(killed)
    assert text.endswith("!!  the worker was killed by signal 9")
    assert "peak memory" not in text and "launches a step" in text


def test_json_holds_the_same(odd: StageReport) -> None:
    told = json.loads(json.dumps(as_json({"mindspore": "2.10.0"}, [odd])))
    assert told["mindspore"] == "2.10.0"
    (found,) = told["stages"]
    assert [row["name"] for row in found["graphs"]] == [row.name for row in odd.graphs]
    assert found["findings"]["host callbacks"][0]["op"] == "PyExecute"
    assert found["planned_bytes"] == 8_565_000_000
