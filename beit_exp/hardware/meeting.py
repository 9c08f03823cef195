"""The processes that one command started on several nodes: what the first decides for all, and an
end for all at once.
"""

from __future__ import annotations

import math
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
from beit_exp.hardware.peer import SilentError, Waiting, call
from beit_exp.hardware.process import ABANDON, STOPPED, Process

POLL_S = 0.1
GRACE_S = 10.0  # for one's own worker, which may be at its end, too, when another has failed
LEAVING_S = 60.0  # for the others, after the first has done its work
SAVING_S = 600.0  # for the others, after one has stopped at a signal: a checkpoint may be written

Result = TypeVar("Result")
Started = Callable[[Process], None]  # takes the worker that can be stopped


class Alone:
    """The meeting of a command that was started once: there is nobody to wait for."""

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
    own_address: str  # at which another reaches this one

    def __init__(self, place: Place) -> None:
        self.place = place
        self.worker: Process | None = None
        # Of the first that failed: exit status, and what to say unless its worker has said it here
        self.failure: tuple[int, str] | None = None
        self.lock = threading.Lock()
        self.own_status = 0
        self.has_ended = threading.Event()  # the own worker
        self.is_over = threading.Event()  # all of it

    def supervise(self, work: Callable[[Started], int]) -> int:
        """Do the work, and return the exit status of all: 0, or that of the first that failed.

        When one of the others fails or is gone, the own worker is stopped. A signal that stops the
        first is the end of all, whatever it does to the others.
        """
        watching = threading.Thread(target=self._watch, name="nodes", daemon=True)
        watching.start()
        left: SystemExit | None = None
        try:
            status = work(self._started)
        except SystemExit as stop:
            left, status = stop, int(stop.code or 0)
        self.own_status = status
        failed_first = status not in (0, *STOPPED) and self.failure is None  # its worker said why
        self.has_ended.set()
        status = self._end(status)
        self.is_over.set()
        watching.join()
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

    def _note(self, status: int, text: str) -> bool:
        """Note a failure; returns whether it is the first."""
        with self.lock:
            is_first = self.failure is None
            if is_first:
                self.failure = (status, text)
            return is_first

    def _stop_worker(self, grace_s: float) -> None:
        """Stop the own worker, for another has failed, unless it ends by itself."""
        if self.has_ended.wait(grace_s) or self.worker is None:
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
        # At which the last process reached it, where there are several nodes from another one: so
        # workers everywhere reach a scheduler here; its own processes may know it as 127.0.1.1
        self.own_address = self.peers[max(self.peers)].own_address

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
        while len(self.statuses) < len(self.peers) and not self.is_over.is_set():
            for number, peer in self.peers.items():
                if number in self.statuses:
                    continue
                grace_s = GRACE_S
                try:
                    status = int(peer.hear(timeout_s=0)["status"])
                    text = f"{peer.name} ended with exit status {status}"
                except queue.Empty:
                    continue
                except UserError as error:
                    status, text = 1, str(error)
                    grace_s = grace_after(error)
                self.statuses[number] = status
                if status not in (0, *STOPPED):
                    told = (status, text, grace_s)
                    threading.Thread(target=self._judge, args=told, daemon=True).start()
            time.sleep(POLL_S)

    def _judge(self, status: int, text: str, grace_s: float) -> None:
        """End all after one has failed, unless this one ends by a signal, which came to all."""
        if self.has_ended.wait(grace_s) and self.own_status in STOPPED:
            return
        if self._note(status, text):
            self._tell_end(status, text, grace_s=grace_s)
            self._stop_worker(0.0)

    def _tell_end(self, status: int, text: str, *, grace_s: float = GRACE_S) -> None:
        for peer in self.peers.values():
            peer.tell(end=status, text=text, grace_s=grace_s)

    def _end(self, status: int) -> int:
        if status not in (0, *STOPPED) and self._note(status, ""):
            own_name = f"{self.place.name_of(0)} ({socket.gethostname()})"
            self._tell_end(status, f"{own_name} ended with exit status {status}")
        if self.failure is not None:
            return self.failure[0]
        deadline = time.monotonic() + (SAVING_S if status else LEAVING_S)
        while len(self.statuses) < len(self.peers) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if status == 0:
            status = self._status_of_others()
        self._tell_end(status, self.failure[1] if self.failure else "")
        return status

    def _status_of_others(self) -> int:
        """0, or that of the first of the others that failed or is late."""
        late = [peer.name for number, peer in self.peers.items() if number not in self.statuses]
        if late:
            self._note(1, f"{late[0]} did not end with the others")
        failed = [status for status in self.statuses.values() if status]
        while self.failure is None and not all(status in STOPPED for status in failed):
            time.sleep(POLL_S)  # until that is judged
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
        self.own_address = self.first.own_address

    def first_does(self, act: Callable[[], Result]) -> Result:
        """What the first tells as the result of this; `UserError` if it refuses."""
        result: Result = self.first.hear()["done"]
        return result

    def gather(self, value: Any) -> dict[int, Any]:
        """Bring this to the first, which alone learns what all bring."""
        self.first.tell(value=value)
        return {}

    def _watch(self) -> None:
        while self.failure is None and not self.is_over.is_set():
            try:
                told = self.first.hear(timeout_s=POLL_S)
                status, text, grace_s = int(told["end"]), str(told["text"]), float(told["grace_s"])
            except queue.Empty:
                continue
            except UserError as error:
                status, text = self.own_status or 1, str(error)
                grace_s = grace_after(error)
            self._note(status, text)
            self._stop_worker(grace_s)  # which has ended, unless others do not wait any longer

    def _end(self, status: int) -> int:
        self.first.tell(status=status)
        # What the first alone has to do when all is done, as uploads, may last: it says that it
        # lives. A signal may not have reached it, so that the wait for it has a limit
        deadline = time.monotonic() + (SAVING_S if status in STOPPED else math.inf)
        while self.failure is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._note(1, f"{self.first.name} did not end with the others")
        return self.failure[0] if self.failure else 1

    def close(self) -> None:
        """Leave the first."""
        self.first.close()


def grace_after(error: UserError) -> float:
    """For the own worker, when another process is gone; none where the worker waits in vain."""
    return 0.0 if isinstance(error, SilentError) else GRACE_S


Meeting = Alone | Member


def meet(place: Place | None, *, timeout_s: float) -> Meeting:
    """Find the other processes that the same command started; `UserError` names who is missing."""
    if place is None:
        return Alone()
    member = First if place.number == 0 else Other
    return member(place, timeout_s=timeout_s)
