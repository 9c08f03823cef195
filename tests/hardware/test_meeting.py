from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from beit_exp.errors import UserError
from beit_exp.hardware import meeting, peer
from beit_exp.hardware.cluster import free_port
from beit_exp.hardware.meeting import Alone, Meeting, Started, meet
from beit_exp.hardware.nodes import Place
from beit_exp.hardware.process import ABANDON

LASTING = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(peer, "RETRY_S", 0.02)


def together(count: int, act: Callable[[Meeting], object]) -> list[object]:
    """What so many processes come to, each a thread here: a result, or what it raised."""
    port = free_port()

    def one(node: int) -> object:
        try:
            met = meet(Place("NNODES", count, node, "127.0.0.1", port), timeout_s=20)
            try:
                return act(met)
            finally:
                met.close()
        except (UserError, SystemExit, ZeroDivisionError) as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_one_alone_waits_for_nobody() -> None:
    alone = meet(None, timeout_s=0)
    assert isinstance(alone, Alone) and alone.is_first
    assert (alone.first_does(lambda: 7), alone.gather("a")) == (7, {0: "a"})
    assert alone.supervise(lambda _: 3) == 3
    alone.close()


def test_the_first_does_what_is_done_once_and_learns_what_each_brings() -> None:
    done: list[int] = []

    def act(met: Meeting) -> object:
        number = met.first_does(lambda: done.append(1) or 41)
        found = met.gather(met.place.node)
        return number, found, met.first_does(lambda: sum(found.values()))

    assert together(3, act) == [(41, {0: 0, 1: 1, 2: 2}, 3), (41, {}, 3), (41, {}, 3)]
    assert done == [1]


def test_what_the_first_refuses_ends_all() -> None:
    def refuse() -> None:
        raise UserError("no such folder")

    found = together(2, lambda met: met.first_does(refuse))
    assert [str(each) for each in found] == ["no such folder", "node 0 refused: no such folder"]


def test_one_that_ends_before_its_turn_ends_all() -> None:
    def act(met: Meeting) -> object:
        if not met.is_first:
            return 1 // 0
        return met.gather(1)

    first, second = together(2, act)
    assert "node 1" in str(first) and "is gone" in str(first)
    assert isinstance(second, ZeroDivisionError)


def test_the_first_that_crashes_is_missed_by_all() -> None:
    found = together(3, lambda met: met.first_does(lambda: 1 // 0))
    assert isinstance(found[0], ZeroDivisionError)
    assert all("node 0 (127.0.0.1) is gone" in str(each) for each in found[1:])


def test_while_the_first_takes_its_time_the_others_hear_that_it_lives(monkeypatch) -> None:
    monkeypatch.setattr(peer, "BEAT_S", 0.05)
    beats = 4 * peer.SILENT_BEATS * peer.BEAT_S
    assert together(2, lambda met: met.first_does(lambda: time.sleep(beats) or 7)) == [7, 7]


def working(status: int, *, after_s: float = 0.0) -> Callable[[Started], int]:
    def work(_: Started) -> int:
        time.sleep(after_s)
        return status

    return work


def lasting(ended: list[int]) -> Callable[[Started], int]:
    """Work that does not end by itself, in a process that can be stopped."""

    def work(started: Started) -> int:
        process = subprocess.Popen(LASTING)
        started(process)
        ended.append(process.wait())
        return 1

    return work


def test_all_end_with_0_once_all_are_done(capfd) -> None:
    delays = (0.0, 0.3, 0.1)
    found = together(3, lambda met: met.supervise(working(0, after_s=delays[met.place.node])))
    assert found == [0, 0, 0]
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_when_one_fails_the_others_are_stopped_and_say_which(
    failing: int, capfd, monkeypatch
) -> None:
    monkeypatch.setattr(meeting, "GRACE_S", 0.3)
    ended: list[int] = []

    def act(met: Meeting) -> object:
        is_failing = met.place.node == failing
        return met.supervise(working(137, after_s=0.2) if is_failing else lasting(ended))

    found = together(3, act)
    assert ended == [-ABANDON, -ABANDON]
    assert found[failing] == 137 and 137 in found[:1]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"node {failing} (")
        assert line.endswith("ended with exit status 137. To go on, run the same again")


@pytest.mark.slow
def test_a_worker_that_hears_nothing_is_killed(monkeypatch) -> None:
    monkeypatch.setattr(meeting, "GRACE_S", 0.2)
    deaf = f"import signal, time; signal.signal({int(ABANDON)}, lambda *_: None); time.sleep(60)"
    monkeypatch.setattr(sys.modules[__name__], "LASTING", [sys.executable, "-c", deaf])
    ended: list[int] = []
    together(
        2, lambda met: met.supervise(working(2, after_s=1) if met.is_first else lasting(ended))
    )
    assert ended == [-signal.SIGKILL]


def test_a_network_that_breaks_ends_all_with_the_name_of_the_other(capfd, monkeypatch) -> None:
    monkeypatch.setattr(peer, "BEAT_S", 0.05)
    monkeypatch.setattr(meeting, "GRACE_S", 0.1)
    ended: list[int] = []

    def act(met: Meeting) -> object:
        others = met.peers[1] if met.is_first else met.first
        threading.Timer(0.3, others.__setattr__, ("tell", lambda **_: None)).start()
        return met.supervise(lasting(ended))

    assert together(2, act) == [1, 1]
    assert ended == [-ABANDON, -ABANDON]
    told = capfd.readouterr().err
    assert "node 0 (127.0.0.1) is gone" in told
    assert "node 1 (" in told and "it was silent for" in told


def test_where_one_is_silent_the_workers_of_all_are_stopped_at_once(capfd, monkeypatch) -> None:
    monkeypatch.setattr(peer, "BEAT_S", 0.05)
    monkeypatch.setattr(meeting, "GRACE_S", 20.0)
    ended: list[int] = []

    def act(met: Meeting) -> object:
        if met.place.node == 1:
            met.first.tell = lambda **_: None
            return met.supervise(working(1, after_s=2))
        return met.supervise(lasting(ended))

    began = time.monotonic()
    assert together(3, act) == [1, 1, 1]
    assert time.monotonic() - began < meeting.GRACE_S / 2
    assert ended == [-ABANDON, -ABANDON]
    told = [line for line in capfd.readouterr().err.splitlines() if "it was silent for" in line]
    assert len(told) == 2 and all(line.startswith("node 1 (") for line in told)


def test_a_signal_that_stops_all_is_the_end_of_all(capfd) -> None:
    delays = (0.1, 0.4)

    def work(node: int) -> Callable[[Started], int]:
        def stop(_: Started) -> int:
            time.sleep(delays[node])
            raise SystemExit(143)

        return stop

    found = together(2, lambda met: met.supervise(work(met.place.node)))
    assert [each.code for each in found] == [143, 143]
    assert capfd.readouterr().err == ""


def test_a_crash_of_one_while_a_signal_stops_the_first_is_a_stop(capfd) -> None:
    works = {0: working(143, after_s=0.5), 1: working(1)}
    assert together(2, lambda met: met.supervise(works[met.place.node])) == [143, 143]
    assert capfd.readouterr().err == ""


def test_one_that_does_not_end_with_the_others_is_named(capfd, monkeypatch) -> None:
    monkeypatch.setattr(meeting, "LEAVING_S", 0.3)
    late = (0.0, 1.5, 0.0)
    assert together(3, lambda met: met.supervise(working(0, after_s=late[met.place.node]))) == [
        1,
        1,
        1,
    ]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("node 1 (") and "did not end with the others" in line


@pytest.mark.slow
def test_a_worker_that_saves_too_long_after_a_signal_is_stopped(monkeypatch) -> None:
    monkeypatch.setattr(meeting, "SAVING_S", 0.3)
    monkeypatch.setattr(meeting, "GRACE_S", 0.3)
    ended: list[int] = []

    def act(met: Meeting) -> object:
        return met.supervise(working(143) if met.is_first else lasting(ended))

    assert together(2, act)[0] == 143
    assert ended == [-ABANDON]


def test_what_the_first_alone_has_still_to_do_keeps_the_others_waiting(monkeypatch) -> None:
    monkeypatch.setattr(meeting, "LEAVING_S", 0.2)
    delays = (1.0, 0.0)
    assert together(2, lambda met: met.supervise(working(0, after_s=delays[met.place.node]))) == [
        0,
        0,
    ]


def test_when_both_fail_at_once_at_most_one_names_the_other(capfd) -> None:
    assert together(2, lambda met: met.supervise(working(3))) == [3, 3]
    assert len(capfd.readouterr().err.splitlines()) <= 1


def test_no_thread_outlives_a_meeting() -> None:
    before = set(threading.enumerate())
    together(3, lambda met: met.supervise(working(met.place.node)))
    deadline = time.monotonic() + 2
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_first_is_reached_at_the_address_that_another_node_knows() -> None:
    """Its own processes may know it by another: Debian gives a host 127.0.1.1 of its own name."""
    port = free_port()
    addresses = ("127.0.1.1", "127.0.1.1", "127.0.0.1", "127.0.0.1")

    def one(number: int) -> str:
        node, card = divmod(number, 2)
        place = Place("Slurm", 2, node, addresses[number], port, cards=2, card=card)
        met = meet(place, timeout_s=20)
        met.first_does(lambda: None)
        met.close()
        return met.own_address

    with ThreadPoolExecutor(4) as pool:
        assert next(pool.map(one, range(4))) == "127.0.0.1"
