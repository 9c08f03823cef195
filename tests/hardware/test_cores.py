from __future__ import annotations

import os
from pathlib import Path

import pytest

from beit_exp.hardware import cores
from beit_exp.hardware.cores import (
    CARDS,
    num_working,
    own_cores,
    share_of_cores,
    share_of_machine,
)


def test_jobs_at_once_have_cores_and_cards_of_their_own(tmp_path: Path, monkeypatch) -> None:
    pinned: list[set[int]] = []
    monkeypatch.setattr(cores, "own_cores", lambda: [0, 1, 2, 3, 4])
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, mine: pinned.append(set(mine)), raising=False
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setenv(CARDS, "4,5,6,7")
    with share_of_machine(tmp_path, jobs=2, device_num=2):
        first = os.environ[CARDS]
        os.environ[CARDS] = "4,5,6,7"  # as another process finds it
        with share_of_machine(tmp_path, jobs=2, device_num=2):
            second = os.environ[CARDS]
            with (
                pytest.raises(RuntimeError, match="more than 2 jobs"),
                share_of_machine(tmp_path, jobs=2, device_num=2),
            ):
                pass
    assert (first, second, os.environ[CARDS]) == ("4,5", "6,7", "4,5,6,7")
    assert pinned == [{0, 2, 4}, {1, 3}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}]


@pytest.mark.parametrize(
    ("own", "places", "shares"),
    [
        ([0, 1, 2, 3, 4], 2, [[0, 1], [2, 3, 4]]),
        ([1, 4, 7, 8], 2, [[1, 4], [7, 8]]),
        ([4, 7], 2, [[4, 7]] * 2),
        ([0, 1, 2, 3, 4], 3, [[0, 1, 2, 3, 4]] * 3),
        ([0, 1], 1, [[0, 1]]),
    ],
)
def test_processes_share_cores_with_their_neighbours(
    own: list[int], places: int, shares: list[list[int]], monkeypatch
) -> None:
    monkeypatch.setattr(cores, "own_cores", lambda: own)
    assert [share_of_cores(place, places=places) for place in range(places)] == shares


def test_a_job_alone_keeps_the_whole_machine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(CARDS, raising=False)
    before = own_cores()
    with share_of_machine(tmp_path, jobs=1, device_num=1):
        assert own_cores() == before and CARDS not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_more_jobs_than_cores_share_them(tmp_path: Path, monkeypatch) -> None:
    pinned: list[list[int]] = []
    monkeypatch.setattr(cores, "own_cores", lambda: [3])
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, mine: pinned.append(list(mine)), raising=False
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    with (
        share_of_machine(tmp_path, jobs=2, device_num=1),
        share_of_machine(tmp_path, jobs=2, device_num=1),
    ):
        assert pinned == [[3], [3]]


def test_no_more_threads_work_than_there_are_cores_or_a_limit_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    assert 1 <= num_working() <= len(own_cores())
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # is taken for such a limit
    assert num_working() == 1
