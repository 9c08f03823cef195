from __future__ import annotations

import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from beit_exp.errors import UserError
from beit_exp.hardware import nodes, peer
from beit_exp.hardware.cluster import free_port
from beit_exp.hardware.nodes import Place, UnknownHostError
from beit_exp.hardware.peer import GoneError, Peer, Waiting, call


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(peer, "RETRY_S", 0.02)


def places(count: int) -> list[Place]:
    port = free_port()
    return [Place("NNODES", count, node, address="127.0.0.1", port=port) for node in range(count)]


def pair() -> tuple[Peer, Peer]:
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    listener.close()
    return Peer(near, "node 1 (b)"), Peer(far, "node 0 (a)")


def say(port: int, line: bytes) -> socket.socket:
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.02)
            continue
        connection.sendall(line)
        return connection


@contextmanager
def waiting_in_vain(first: Place, timeout_s: float) -> Iterator[list[str]]:
    """The first waits beside the block; afterwards the list holds why it gave up."""
    told: list[str] = []

    def listen() -> None:
        try:
            Waiting(first).listen(timeout_s)
        except UserError as error:
            told.append(str(error))

    waiting = threading.Thread(target=listen)
    waiting.start()
    yield told
    waiting.join()


def test_what_is_told_is_heard_in_its_order() -> None:
    one, other = pair()
    one.tell(value=1)
    one.tell(value=[2.5, "ü"])
    assert [other.hear()["value"] for _ in range(2)] == [1, [2.5, "ü"]]
    with pytest.raises(queue.Empty):
        other.hear(timeout_s=0.01)
    other.tell(refused="no")
    with pytest.raises(UserError, match="^no$"):
        one.hear()
    other.close()
    for _ in range(2):
        with pytest.raises(GoneError, match=r"node 1 \(b\) is gone: its connection ended"):
            one.hear()


def test_one_that_is_silent_is_gone(monkeypatch) -> None:
    monkeypatch.setattr(peer, "BEAT_S", 0.02)
    listener = socket.create_server(("127.0.0.1", 0))
    silent = socket.create_connection(listener.getsockname())
    heard, _ = listener.accept()
    with pytest.raises(GoneError, match="it was silent for 0 s"):
        Peer(heard, "node 1 (b)").hear(timeout_s=5)
    silent.close()


def test_two_that_live_hear_of_each_other_for_long(monkeypatch) -> None:
    monkeypatch.setattr(peer, "BEAT_S", 0.01)
    one, other = pair()
    time.sleep(0.5)
    one.tell(value=1)
    assert other.hear(timeout_s=5) == {"value": 1}


def test_one_that_leaves_waits_until_the_other_has_heard_all(monkeypatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    near = Peer(socket.create_connection(listener.getsockname()))
    far, _ = listener.accept()
    near.tell(end=0)
    heard: list[bytes] = []

    def hear_late() -> None:
        time.sleep(0.3)
        with far, far.makefile("rb") as lines:
            heard.extend(lines)

    threading.Thread(target=hear_late).start()
    near.close()
    assert heard[-1] == b'{"end": 0}\n'

    monkeypatch.setattr(peer, "FAREWELL_S", 0.1)
    deaf = Peer(socket.create_connection(listener.getsockname()))
    began = time.monotonic()
    deaf.close()
    assert 0.1 <= time.monotonic() - began < 2


def test_no_thread_outlives_a_connection() -> None:
    before = set(threading.enumerate())
    ends = pair()
    own = set(threading.enumerate()) - before
    assert len(own) == 4
    for end in ends:
        end.close()
    deadline = time.monotonic() + 2  # less than a beat
    while own & set(threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_meet_in_any_order_among_strangers() -> None:
    first, *others = places(3)
    found: dict[int, Peer] = {}

    def listen() -> None:
        found.update(Waiting(first).listen(20))

    waiting = threading.Thread(target=listen)
    waiting.start()
    stray = [say(first.port, line) for line in (b"GET / HTTP/1.1\r\n\r\n", b"", b"[1]\n", b"{}")]
    at_once = say(first.port, b"")
    at_once.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # by a reset
    for each in (*stray, at_once):
        each.close()
    silent = say(first.port, b"")
    called = [call(place, 20) for place in reversed(others)]
    waiting.join()
    assert list(found) == [1, 2]
    assert [each.name.split()[:2] for each in found.values()] == [["node", "1"], ["node", "2"]]
    found[2].tell(value="for the second")
    assert called[0].hear() == {"value": "for the second"}
    silent.settimeout(2)
    while silent.recv(100):  # beats, and then the end
        pass


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        ({"number": 1, "count": 3, "host": "b", "job": None}, "one of 3 (job None), not of 2"),
        ({"number": 1, "count": 2, "host": "b", "job": "slurm_7_0"}, "job slurm_7_0"),
        ({"number": 0, "count": 2, "host": "b", "job": None}, "node 0, which is there already"),
        ({"number": "1", "count": 2, "host": "b", "job": None}, "nothing that can be read"),
        ({"number": True, "count": 2, "host": None, "job": None}, "nothing that can be read"),
    ],
)
def test_one_that_does_not_belong_here_is_sent_away(greeting: dict, said: str) -> None:
    first, _ = places(2)
    with waiting_in_vain(first, 0.5) as told:
        connection = say(first.port, json.dumps(greeting).encode() + b"\n")
        lines = connection.makefile("rb")
        answer = next(json.loads(line) for line in lines if json.loads(line))
        assert said in answer["refused"]
    assert "node 1 did not come to node 0" in told[0] and said in told[0]
    assert "within 0.5 s (hardware.cluster_timeout_s)" in told[0]


def test_those_that_came_are_told_who_did_not() -> None:
    first, second, _ = places(3)
    with (
        waiting_in_vain(first, 0.4) as told,
        pytest.raises(UserError, match="node 2 did not come to node 0"),
    ):
        call(second, 20).hear()
    assert told[0].startswith("node 2 did not come")


def test_one_that_came_and_went_ends_the_waiting_of_all() -> None:
    first, second, third = places(4)[:3]
    told: list[str] = []

    def listen() -> None:
        try:
            Waiting(first).listen(20)
        except UserError as error:
            told.append(str(error))

    waiting = threading.Thread(target=listen)
    waiting.start()
    stays, goes = call(second, 20), call(third, 20)
    goes.close()
    with pytest.raises(UserError, match=r"^node 2 \(.*\) is gone: its connection ended"):
        stays.hear(timeout_s=5)
    waiting.join()
    assert told[0].startswith("node 2 (")


def test_a_name_that_is_known_later_is_asked_again(monkeypatch) -> None:
    first, second = places(2)
    answers = iter(["", "", "127.0.0.1"])

    def ask(host: str) -> str:
        if address := next(answers):
            return address
        raise UnknownHostError(f"no IPv4 address of {host!r} is known here")

    monkeypatch.setattr(peer, "ip_address", ask)
    monkeypatch.setattr(peer, "RETRY_S", 0.05)
    waiting = threading.Thread(target=lambda: Waiting(first).listen(20))
    waiting.start()
    assert call(second, 20).name == "node 0 (127.0.0.1)"
    waiting.join()
    monkeypatch.setattr(peer, "ip_address", nodes.ip_address)
    with pytest.raises(
        UserError, match="within 0.1 s .*: no IPv4 address of 'n0.invalid' is known"
    ):
        call(replace(second, address="n0.invalid"), 0.1)


def test_a_port_that_is_taken_is_named() -> None:
    first, second = places(2)
    with (
        socket.create_server(("", first.port)),
        pytest.raises(UserError, match=f"port {first.port}.*cannot be had.*MASTER_PORT"),
    ):
        Waiting(first).listen(5)
    with pytest.raises(UserError, match=r"node 1 .* did not reach node 0 at 127\.0\.0\.1, port"):
        call(second, 0.2)


def test_an_answer_of_something_else_is_tried_again() -> None:
    first, second = places(2)

    def take_and_drop() -> None:
        with socket.create_server(("127.0.0.1", first.port)) as listener:
            for _ in range(2):
                listener.accept()[0].close()

    threading.Thread(target=take_and_drop).start()
    time.sleep(0.1)
    with pytest.raises(UserError, match="its connection ended|refused|reset"):
        call(second, 1.0)
