"""Faults that strike whole runs: some of them, and all in all phases."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack.fault_matrix import main, matching

SOME = [
    ("run directory moved", "step"),
    ("Ctrl-C", "evaluation"),
]


@pytest.mark.long
def test_a_run_struck_by_a_fault_ends_as_one_that_was_not(tmp_path: Path) -> None:
    assert main(tmp_path, SOME) == []


@pytest.mark.endurance
def test_every_fault_in_every_phase(tmp_path: Path) -> None:
    assert main(tmp_path, matching([])) == []
