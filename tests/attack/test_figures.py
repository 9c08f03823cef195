from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attack import figures, trial
from attack.figures import by_hand, of_header_bits, of_mutants
from attack.parsers import PARSERS, Parser

PARSER = next(each for each in PARSERS if each.name == "policy")


@pytest.mark.slow
def test_a_row_of_mutants_and_one_by_hand_are_measured(tmp_path: Path) -> None:
    assert str(of_mutants(PARSER, 30, tmp_path)) == "| mutants: policy | 30 | 30 |"
    row = by_hand("config.yaml by hand", tmp_path)
    assert row.tried > 3 and row.faults == []


BROKEN = """
import os, sys, time
from pathlib import Path
from attack import trial
from attack.parsers import Parser

def read(path):
    journal = path.parent / trial.JOURNAL
    match int(journal.read_text()) if journal.exists() else -1:
        case 3: os.abort()
        case 4: raise ValueError("no word for the user")
        case 6: time.sleep(60)
        case 8: return "wrong"
        case 9: return "right" if b"\\1" * (256 << 20) else ""
    return "right"

trial.MAX_S, trial.MAX_BYTES = 2.0, 128 << 20
is_right = lambda found, _: found == "right"
trial.PARSERS[:] = [Parser("broken", "b", lambda _: [b"a"], read, is_right)]
sys.exit(trial.main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
"""


@pytest.mark.endurance
def test_every_way_not_to_hold_is_told_and_the_next_mutants_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CHILD", [sys.executable, "-c", BROKEN])
    broken = Parser("broken", "b", lambda _: [b"a"], lambda _: None)
    row = of_mutants(broken, 10, tmp_path)
    assert str(row) == "| mutants: broken | 10 | 5 |", row.faults
    for fault, said in zip(
        row.faults,
        ("SIGABRT", "ValueError: no word", "more than", "a wrong value", "MB of memory"),
        strict=True,
    ):
        assert said in fault


def test_every_file_of_the_table_is_there() -> None:
    for files, _ in figures.BY_HAND.values():
        assert all((figures.TESTS / file).is_file() for file in files.split())


@pytest.mark.slow
def test_every_bit_of_a_checkpoints_header_is_found_or_means_the_same(tmp_path: Path) -> None:
    row = of_header_bits(tmp_path)
    assert row.tried > 1_500 and row.faults == []
