"""Mutated files against every reader of foreign bytes: a value, or a `UserError`."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack.parsers import PARSERS, Parser, refused
from attack.trial import Attack, try_mutants

FAST, SLOW = 60, 1_000  # mutants of a parser

parsers = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)


@parsers
def test_whole_files_are_read(parser: Parser, tmp_path: Path) -> None:
    for content in parser.seeds(tmp_path):
        assert not refused(parser, content, tmp_path)[0]


@parsers
def test_a_wrong_file_is_read_or_refused(parser: Parser, tmp_path: Path) -> None:
    attack = Attack(parser, tmp_path)
    assert sum(attack.try_one(number) for number in range(FAST)) > 0


@pytest.mark.slow
@parsers
def test_thousands_of_wrong_files_are_read_or_refused(parser: Parser, tmp_path: Path) -> None:
    trial = try_mutants(parser, SLOW, tmp_path)
    assert trial.faults == [] and trial.tried == SLOW
    print(f"{parser.name}: {trial.tried} tried, all held: {trial.refused} refused")
