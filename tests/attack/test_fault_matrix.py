"""Faults that strike whole runs: one a phase, and all in all phases."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack.fault_matrix import main, matching

ONE_A_PHASE = [
    ("started twice", "start"),
    ("SIGHUP", "compile"),
    ("run directory moved", "step"),
    ("store lost", "evaluation"),
    ("no file descriptor", "checkpoint"),
    ("Ctrl-C", "end"),
]


@pytest.mark.slow
def test_a_run_struck_by_a_fault_ends_as_one_that_was_not(tmp_path: Path) -> None:
    assert main(tmp_path, ONE_A_PHASE) == []


@pytest.mark.endurance
def test_every_fault_in_every_phase(tmp_path: Path) -> None:
    assert main(tmp_path, matching([])) == []
