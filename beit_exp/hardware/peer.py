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
from beit_exp.hardware.nodes import Place, UnknownHostError, ip_address

BEAT_S = 3.0
# After so many the other counts as gone, before MindSpore, which waits 30 s for another rank's part
# of a sum, gives up with less to say. Beats, not time: a job may be suspended
SILENT_BEATS = 6
RETRY_S = 0.5
CALL_S = 10.0
FAREWELL_S = 3.0  # for the other to have heard everything: what closes at once may lose the end
MAX_LINE = 1 << 20


class GoneError(UserError):
    """The connection to another process has ended."""


class SilentError(GoneError):
    """Nothing is heard of another process: its host is down, or the network."""


class Peer:
    """Another process, at the other end of a connection."""

    def __init__(self, connection: socket.socket, name: str = "") -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.name = connection, name
        self.own_address = connection.getsockname()[0]
        self.gone = ""  # why, once it is
        self.silent = 0
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.is_left, self.has_heard_all = threading.Event(), threading.Event()
        for act in (self._read, self._beat):
            threading.Thread(target=act, name="peer", daemon=True).start()

    def tell(self, **message: Any) -> None:
        """Send a line; one that cannot be sent is noticed as the end of the other."""
        try:
            with self.lock:
                if not self.is_left.is_set():
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
            kind = SilentError if self.silent > SILENT_BEATS else GoneError
            raise kind(f"{self.name} is gone: {message['gone']}")
        if "refused" in message:
            raise UserError(str(message["refused"]))
        return message

    def lose(self, why: str) -> None:
        """Take the other as gone."""
        if not self.gone:
            self.gone = why
            self.messages.put({"gone": why})
        self.is_left.set()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def close(self) -> None:
        """End the connection once the other has heard everything, and with it the threads."""
        with self.lock, contextlib.suppress(OSError):
            self.is_left.set()
            self.connection.shutdown(socket.SHUT_WR)
        self.has_heard_all.wait(FAREWELL_S)
        self.lose("it was left")

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
        finally:
            self.has_heard_all.set()

    def _beat(self) -> None:
        while not self.is_left.wait(BEAT_S):
            self.tell()
            self.silent += 1
            if self.silent > SILENT_BEATS:
                self.lose(f"it was silent for {SILENT_BEATS * BEAT_S:.0f} s")


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
        try:
            with listener:
                listener.settimeout(RETRY_S)
                while len(self.peers) < place.count - 1:
                    self._check(timeout_s, is_over=time.monotonic() > deadline)
                    with contextlib.suppress(OSError):  # none has come, or it is gone already
                        connection, (host, *_) = listener.accept()
                        coming.append((Peer(connection), host))
                    coming = [each for each in coming if not self._has_spoken(*each)]
        except BaseException:  # Ctrl-C, too: to those that came, this one is gone
            self.close()
            raise
        finally:
            for stranger, _ in coming:
                stranger.lose("it said nothing")
        return dict(sorted(self.peers.items()))

    def close(self) -> None:
        """Leave those that came."""
        for peer in self.peers.values():
            peer.close()

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

    def _check(self, timeout_s: float, *, is_over: bool) -> None:
        """Raise `UserError`, and tell it to those that came, if one of them is gone, or others did
        not come while there was time.
        """
        place = self.place
        gone = [f"{peer.name} is gone: {peer.gone}" for peer in self.peers.values() if peer.gone]
        if not gone and not is_over:
            return
        missing = [
            place.name_of(number) for number in range(1, place.count) if number not in self.peers
        ]
        late = (
            f"{', '.join(missing)} did not come to {place.name_of(0)} ({socket.gethostname()}, "
            f"port {place.port}) within {timeout_s:g} s (hardware.cluster_timeout_s)"
        )
        text = "; ".join(gone or [late, *self.refused])
        for peer in self.peers.values():
            peer.tell(refused=text)
        raise UserError(text)


def call(place: Place, timeout_s: float) -> Peer:
    """The first process, called by another, which it has taken in; `UserError` if it cannot be
    reached in time, or refuses.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _call_once(place, deadline)
        # What answered may be a proxy, or going; a name may be known once its host is up
        except (OSError, GoneError, UnknownHostError, queue.Empty) as error:
            why = getattr(error, "strerror", None) or str(error) or "no answer"
        if time.monotonic() > deadline:
            raise UserError(
                f"{place.name_of(place.number)} ({socket.gethostname()}) did not reach "
                f"{place.name_of(0)} at {place.address}, port {place.port}, within "
                f"{timeout_s:g} s (hardware.cluster_timeout_s): {why}. Its address and port can "
                "be named by MASTER_ADDR and MASTER_PORT in the environment of every node"
            )
        time.sleep(RETRY_S)


def _call_once(place: Place, deadline: float) -> Peer:
    address = (ip_address(place.address), place.port)
    connection = socket.create_connection(address, timeout=CALL_S)
    first = Peer(connection, f"{place.name_of(0)} ({place.address})")
    try:
        first.tell(number=place.number, count=place.count, job=place.job, host=socket.gethostname())
        first.hear(timeout_s=max(CALL_S, deadline - time.monotonic()))
    except BaseException:
        first.lose("it was given up")
        raise
    return first
