from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from beit_exp.dry_run.compile_log import CompileLog, kind_of, read_log

EXCERPTS = Path(__file__).parent / "excerpts"


@pytest.fixture(scope="module")
def training() -> CompileLog:
    """Of a fine-tuning on rank 0 of 8: of each graph's kernels the first five."""
    return read_log((EXCERPTS / "training.log").read_text().splitlines())


@pytest.fixture(scope="module")
def odd() -> CompileLog:
    """Of three graphs with operators that the host computes; the second did not compile."""
    return read_log((EXCERPTS / "odd.log").read_text().splitlines())


def test_every_compiled_graph_is_told_with_its_seconds(training: CompileLog) -> None:
    assert [(one.name, one.phase, one.seconds) for one in training.compilations] == [
        ("GradientCell.construct", "train", 17.8665),
        ("UpdateCell.construct", "train", pytest.approx(8.26127)),
        ("BEiT.construct", "predict", 16.8934),
    ]


def test_runs_are_counted_for_each_graph(training: CompileLog) -> None:
    assert [one.runs for one in training.compilations] == [2, 2, 1]


def test_kernels_are_counted_by_operator_and_kind(training: CompileLog) -> None:
    assert training.compilations[0].kernels == Counter(
        {("Reshape", "view"): 3, ("Cast", "aclnn"): 1, ("Transpose", "aclnn"): 1}
    )
    assert training.compilations[1].kernels["Unstack", "aclop"] == 4


def test_a_view_launches_nothing(training: CompileLog) -> None:
    assert training.compilations[0].launches == 2


def test_kernels_outside_graphs_are_told_apart(training: CompileLog) -> None:
    assert training.eager == Counter({("AllGather", "hccl"): 3})


def test_graphs_that_the_card_does_not_run_are_known(odd: CompileLog) -> None:
    nothing, failed, python = odd.compilations
    assert (nothing.graphs, nothing.on_card) == ([0, 1], {0})
    assert (failed.graphs, failed.on_card) == ([3, 4, 5], {3, 5})
    assert (python.graphs, python.on_card) == ([6, 7], {7})


def test_what_did_not_compile_has_no_seconds_and_never_ran(odd: CompileLog) -> None:
    assert (odd.compilations[1].seconds, odd.compilations[1].runs) == (None, 0)
    assert odd.compilations[2].seconds == 0.253144


def test_the_first_error_is_kept_but_for_what_the_stubs_lack_in_any_case(
    training: CompileLog,
) -> None:
    assert training.error is None  # though CANN's Python packages are missed
    line = "[ERROR] {}(1,7f,python):2026-11-24-19:19:02.000.001 [mindspore/a.cc:{}] Select] {}"
    found = read_log([line.format("DEVICE", 7, "no kernel"), line.format("VM", 8, "later")])
    assert found.error == "no kernel"


def test_a_rare_kind_of_kernel_keeps_its_name() -> None:
    assert kind_of("internal_kernel") == "internal"
