from __future__ import annotations

from pathlib import Path

from attack import figures
from attack.figures import by_hand, of_header_bits, of_mutants
from attack.parsers import PARSERS

PARSER = next(each for each in PARSERS if each.name == "policy")


def test_a_row_of_mutants_and_one_by_hand_are_measured(
    tmp_path: Path,
) -> None:
    assert str(of_mutants(PARSER, 30, tmp_path)) == "| mutants: policy | 30 | 30 |"
    row = by_hand("config.yaml by hand", tmp_path)
    assert row.tried > 3 and row.faults == []


def test_every_file_of_the_table_is_there() -> None:
    for files, _ in figures.BY_HAND.values():
        assert all((figures.TESTS / file).is_file() for file in files.split())


def test_every_bit_of_a_checkpoints_header_is_found_or_means_the_same(tmp_path: Path) -> None:
    row = of_header_bits(tmp_path)
    assert row.tried > 1_500 and row.faults == []
