"""The processes that one command started on several nodes: what the first decides for all, and an
end for all at once.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from beit_exp.errors import UserError
from beit_exp.hardware.nodes import Place
from beit_exp.hardware.peer import Waiting, call
from beit_exp.hardware.process import ABANDON, STOPPED, Process

GRACE_S = 5.0  # for one's own worker, which may be at its end, too, when another has failed
LEAVING_S = 60.0  # for the others, after one has done its work
SAVING_S = 600.0  # for the others, after one has stopped at a signal: a checkpoint may be written

Result = TypeVar("Result")
Started = Callable[[Process], None]  # takes the worker that can be stopped


class Alone:
    """What `First` and `Other` are to several: nobody else to wait for."""

    is_first = True
    failure = None

    def first_does(self, act: Callable[[], Result]) -> Result:
        return act()

    def gather(self, value: Any) -> dict[int, Any]:
        return {0: value}

    def supervise(self, work: Callable[[Started], int]) -> int:
        return work(lambda _: None)

    def close(self) -> None:
        pass


class Member(ABC):
    """What the first process and the others share: their worker, and how it is stopped."""

    is_first: bool
    address: str  # of the first, as it is reached
    own_address: str

    def __init__(self, place: Place) -> None:
        self.place = place
        self.worker: Process | None = None
        self.failure: tuple[int, str] | None = None  # of the first that failed: status, what to say
        self.own_status = 0
        self.has_ended = threading.Event()

    def supervise(self, work: Callable[[Started], int]) -> int:
        """Do the work, and return the exit status of all: 0, or that of the first that failed.

        When one of the others fails or is gone, the own worker is stopped. A signal that stops the
        first is the end of all, whatever it does to the others.
        """
        threading.Thread(target=self._watch, name="nodes", daemon=True).start()
        left: SystemExit | None = None
        try:
            status = work(self._started)
        except SystemExit as stop:
            left, status = stop, int(stop.code or 0)
        self.own_status = status
        failed_first = status not in (0, *STOPPED) and self.failure is None  # its worker said why
        self.has_ended.set()
        status = self._end(status)
        if self.failure is not None and self.failure[1] and not failed_first:
            # With its end in one piece: others may write to the same terminal
            sys.stderr.write(f"{self.failure[1]}. To go on, run the same again\n")
            sys.stderr.flush()
        if left is not None:
            raise left
        return status

    def _started(self, worker: Process) -> None:
        self.worker = worker
        if self.failure is not None:
            worker.kill()

    def _fail(self, status: int, text: str) -> None:
        """Note the first failure of another, and stop the own worker unless it ends by itself."""
        if self.failure is not None:
            return
        self.failure = (status, text)
        if self.has_ended.is_set() or self.worker is None:
            return
        self.worker.send_signal(ABANDON)
        if not self.has_ended.wait(GRACE_S):
            self.worker.kill()

    @abstractmethod
    def first_does(self, act: Callable[[], Result]) -> Result: ...

    @abstractmethod
    def gather(self, value: Any) -> dict[int, Any]: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _watch(self) -> None: ...

    @abstractmethod
    def _end(self, status: int) -> int: ...


class First(Member):
    """The first process: it waits for the others, and says for all what is to be done.

    `UserError` names those that have not come in time.
    """

    is_first = True

    def __init__(self, place: Place, *, timeout_s: float) -> None:
        super().__init__(place)
        self.peers = Waiting(place).listen(timeout_s)
        self.statuses: dict[int, int] = {}
        # At which the others reached it, so at which their workers reach a scheduler here
        self.address = self.own_address = self.peers[1].own_address

    def _refuse(self, text: str) -> None:
        for peer in self.peers.values():
            peer.tell(refused=text)
        raise UserError(text)

    def first_does(self, act: Callable[[], Result]) -> Result:
        """Do what is done once for all, and tell the others the result, or why there is none."""
        try:
            result = act()
        except UserError as error:
            for peer in self.peers.values():
                peer.tell(refused=f"{self.place.name_of(0)} refused: {error}")
            raise
        for peer in self.peers.values():
            peer.tell(done=result)
        return result

    def gather(self, value: Any) -> dict[int, Any]:
        """What each of all brings, by its number."""
        found = {0: value}
        for number, peer in self.peers.items():
            try:
                found[number] = peer.hear()["value"]
            except UserError as error:
                self._refuse(str(error))
        return found

    def _watch(self) -> None:
        while len(self.statuses) < len(self.peers):
            for number, peer in self.peers.items():
                if number in self.statuses:
                    continue
                try:
                    status = int(peer.hear(timeout_s=0.1)["status"])
                    text = f"{peer.name} ended with exit status {status}"
                except queue.Empty:
                    continue
                except UserError as error:
                    status, text = 1, str(error)
                self.statuses[number] = status
                if status not in (0, *STOPPED):
                    threading.Thread(target=self._judge, args=(status, text), daemon=True).start()

    def _judge(self, status: int, text: str) -> None:
        """End all after one has failed, unless this one ends by a signal, which came to all."""
        if self.has_ended.wait(GRACE_S) and self.own_status in STOPPED:
            return
        self._tell_end(status, text)
        self._fail(status, text)

    def _tell_end(self, status: int, text: str) -> None:
        for peer in self.peers.values():
            peer.tell(end=status, text=text)

    def _end(self, status: int) -> int:
        if self.failure is not None:
            return self.failure[0]
        if status not in (0, *STOPPED):
            text = (
                f"{self.place.name_of(0)} ({socket.gethostname()}) ended with exit status {status}"
            )
            self._tell_end(status, text)
            return status
        deadline = time.monotonic() + (SAVING_S if status else LEAVING_S)
        while len(self.statuses) < len(self.peers) and time.monotonic() < deadline:
            time.sleep(0.1)
        if status == 0:
            status = self._status_of_others()
        self._tell_end(status, "")
        return status

    def _status_of_others(self) -> int:
        """0, or that of the first of the others that failed, which is judged elsewhere."""
        late = [peer.name for number, peer in self.peers.items() if number not in self.statuses]
        if late:
            self.failure = self.failure or (1, f"{late[0]} did not end with the others")
        failed = [status for status in self.statuses.values() if status]
        return self.failure[0] if self.failure else next(iter(failed), 0)

    def close(self) -> None:
        """Leave the others."""
        for peer in self.peers.values():
            peer.close()


class Other(Member):
    """Any process but the first, which it finds and follows.

    `UserError` if the first cannot be reached in time.
    """

    is_first = False

    def __init__(self, place: Place, *, timeout_s: float) -> None:
        super().__init__(place)
        self.first = call(place, timeout_s)
        self.address, self.own_address = self.first.address, self.first.own_address

    def first_does(self, act: Callable[[], Result]) -> Result:
        """What the first tells as the result of this; `UserError` if it refuses."""
        result: Result = self.first.hear()["done"]
        return result

    def gather(self, value: Any) -> dict[int, Any]:
        """Bring this to the first, which alone learns what all bring."""
        self.first.tell(value=value)
        return {}

    def _watch(self) -> None:
        try:
            told = self.first.hear()
            status, text = int(told["end"]), str(told["text"])
        except UserError as error:
            status, text = 1, str(error)
        if status in (0, *STOPPED):  # after all have told theirs
            self.failure = (status, "")
        elif not self.has_ended.wait(GRACE_S) or self.own_status in (0, *STOPPED):
            self._fail(status, text)
        else:
            self.failure = (self.own_status, "")

    def _end(self, status: int) -> int:
        self.first.tell(status=status)
        # The first may have work of its own to the end: pictures, copies. If it dies, that is heard
        while self.failure is None:
            time.sleep(0.1)
        return self.failure[0]

    def close(self) -> None:
        """Leave the first."""
        self.first.close()


Meeting = Alone | Member


def meet(place: Place | None, *, timeout_s: float) -> Meeting:
    """Find the other processes that the same command started; `UserError` names who is missing."""
    if place is None:
        return Alone()
    return (
        First(place, timeout_s=timeout_s)
        if place.number == 0
        else Other(place, timeout_s=timeout_s)
    )
