"""Connections between the processes that one command started on several nodes.

The first one listens at a port that all know, and the others call it; lines of JSON go both ways.
Each says every few seconds that it lives, so one that dies, or a network that breaks, is noticed.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from typing import Any

from beit_exp.errors import UserError
from beit_exp.hardware.nodes import Place, ip_address

BEAT_S = 5.0
SILENT_BEATS = 6  # after so many the other counts as gone. Beats, not time: a job may be suspended
RETRY_S = 0.5
CALL_S = 10.0
MAX_LINE = 1 << 20


class GoneError(UserError):
    """The connection to another process has ended."""


class Peer:
    """Another process, at the other end of a connection."""

    def __init__(self, connection: socket.socket, name: str = "") -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.name = connection, name
        self.own_address, self.address = (
            place[0] for place in (connection.getsockname(), connection.getpeername())
        )
        self.gone = ""  # why, once it is
        self.silent = 0
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.lock = threading.Lock()
        for act in (self._read, self._beat):
            threading.Thread(target=act, name="peer", daemon=True).start()

    def tell(self, **message: Any) -> None:
        """Send a line; one that cannot be sent is noticed as the end of the other."""
        try:
            with self.lock:
                self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            self.lose(str(error.strerror))

    def hear(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next line; `GoneError` if the other is gone, `UserError` if it refuses what is asked.

        Raises `queue.Empty` when the time is over.
        """
        message = self.messages.get(timeout=timeout_s)
        if "gone" in message:
            self.messages.put(message)
            raise GoneError(f"{self.name} is gone: {message['gone']}")
        if "refused" in message:
            raise UserError(str(message["refused"]))
        return message

    def lose(self, why: str) -> None:
        """Take the other as gone."""
        if not self.gone:
            self.gone = why
            self.messages.put({"gone": why})
        self.close()

    def close(self) -> None:
        """End the connection, and with it the threads."""
        self.gone = self.gone or "it was left"
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def _read(self) -> None:
        try:
            with self.connection.makefile("rb") as lines:
                while (line := lines.readline(MAX_LINE)).endswith(b"\n"):
                    message = json.loads(line)
                    self.silent = 0
                    if message:
                        self.messages.put(dict(message))
            self.lose("its connection ended")
        except (OSError, ValueError, TypeError) as error:
            self.lose(str(error) or type(error).__name__)

    def _beat(self) -> None:
        while not self.gone:
            self.tell()
            self.silent += 1
            if self.silent > SILENT_BEATS:
                self.lose(f"it was silent for {SILENT_BEATS * BEAT_S:.0f} s")
            time.sleep(BEAT_S)


class Waiting:
    """The first process, listening until all the others have come."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.peers: dict[int, Peer] = {}
        self.refused: list[str] = []

    def listen(self, timeout_s: float) -> dict[int, Peer]:
        """The others by their numbers; `UserError` names those that have not come in time."""
        place = self.place
        try:
            listener = socket.create_server(("", place.port))
        except OSError as error:
            raise UserError(
                f"the port {place.port}, at which the others are to meet {place.name_of(0)}, "
                f"cannot be had: {error.strerror}. Name another by the environment variable "
                "MASTER_PORT, the same on every node"
            ) from error
        coming: list[tuple[Peer, str]] = []
        deadline = time.monotonic() + timeout_s
        with listener:
            listener.settimeout(RETRY_S)
            while len(self.peers) < place.count - 1:
                if time.monotonic() > deadline:
                    self._give_up(timeout_s)
                with contextlib.suppress(TimeoutError):
                    connection, (host, *_) = listener.accept()
                    coming.append((Peer(connection), host))
                coming = [each for each in coming if not self._has_spoken(*each)]
        return dict(sorted(self.peers.items()))

    def _has_spoken(self, peer: Peer, host: str) -> bool:
        """Whether one that called has said who it is, or ended: it is taken in, or sent away."""
        try:
            greeting = peer.hear(timeout_s=0.01)
        except queue.Empty:
            return False
        except UserError:  # a stranger, or one that ended again
            return True
        if problem := self._admit(peer, greeting):
            self.refused.append(f"{host} was sent away: {problem}")
            peer.tell(refused=f"{self.place.name_of(0)} refuses this one: {problem}")
        return True

    def _admit(self, peer: Peer, greeting: dict[str, Any]) -> str:
        """Take another process in; returns what is wrong with it."""
        number, count, host = (greeting.get(name) for name in ("number", "count", "host"))
        if not isinstance(number, int) or not isinstance(host, str):
            return "it says nothing that can be read"
        if (count, greeting.get("job")) != (self.place.count, self.place.job):
            return f"it is one of {count} (job {greeting.get('job')}), not of {self.place.count}"
        if not 0 < number < self.place.count or number in self.peers:
            return f"it says that it is {self.place.name_of(number)}, which is there already"
        peer.name = f"{self.place.name_of(number)} ({host[:100]})"
        self.peers[number] = peer
        peer.tell(welcome=True)
        return ""

    def _give_up(self, timeout_s: float) -> None:
        place = self.place
        missing = [
            place.name_of(number) for number in range(1, place.count) if number not in self.peers
        ]
        text = "; ".join(
            [
                f"{', '.join(missing)} did not come to {place.name_of(0)} ({socket.gethostname()}, "
                f"port {place.port}) within {timeout_s:g} s (hardware.cluster_timeout_s)",
                *self.refused,
            ]
        )
        for peer in self.peers.values():
            peer.tell(refused=text)
        raise UserError(text)


def call(place: Place, timeout_s: float) -> Peer:
    """The first process, called by another, which it has taken in; `UserError` if it cannot be
    reached in time, or refuses.
    """
    address = ip_address(place.address)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection = socket.create_connection((address, place.port), timeout=CALL_S)
            first = Peer(connection, f"{place.name_of(0)} ({place.address})")
            first.tell(
                number=place.number, count=place.count, job=place.job, host=socket.gethostname()
            )
            first.hear(timeout_s=max(CALL_S, deadline - time.monotonic()))
            return first
        except (OSError, GoneError, queue.Empty) as error:  # what answered may be a proxy, or going
            why = getattr(error, "strerror", None) or str(error) or "no answer"
        if time.monotonic() > deadline:
            raise UserError(
                f"{place.name_of(place.number)} ({socket.gethostname()}) did not reach "
                f"{place.name_of(0)} at {place.address}, port {place.port}, within "
                f"{timeout_s:g} s (hardware.cluster_timeout_s): {why}. Its address and port can "
                "be named by MASTER_ADDR and MASTER_PORT in the environment of every node"
            )
        time.sleep(RETRY_S)
