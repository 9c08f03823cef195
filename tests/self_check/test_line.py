from __future__ import annotations

from beit_exp.self_check.line import Line, merge_ranks

GOOD, TOLD = Line("norm", "1e-07", True), Line("time", "12 ms", None)
BAD = Line("norm", "0.5", False)


def test_a_check_passes_if_it_does_on_every_rank() -> None:
    assert merge_ranks([[GOOD, TOLD], [GOOD, TOLD]]) == [GOOD, TOLD]


def test_a_check_that_fails_on_a_rank_says_on_which() -> None:
    assert merge_ranks([[GOOD], [BAD], [BAD]]) == [Line("norm", "0.5 (on rank 1, 2)", False)]


def test_one_process_has_no_rank_to_name() -> None:
    assert merge_ranks([[BAD]]) == [BAD]


def test_what_one_rank_alone_came_to_is_told() -> None:
    assert merge_ranks([[GOOD], [GOOD, Line("ranks", "RuntimeError", False)]]) == [
        GOOD,
        Line("ranks", "RuntimeError (on rank 1)", False),
    ]


def test_without_a_process_there_is_no_line() -> None:
    assert merge_ranks([]) == []


def test_a_line_begins_with_its_verdict() -> None:
    assert [str(line).split()[0] for line in (GOOD, BAD, TOLD)] == ["passed", "FAILED", "told"]
