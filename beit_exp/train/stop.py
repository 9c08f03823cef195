"""Stopping on a signal without losing anything.

In a training the signal leaves a note, which the loop reads between two steps; elsewhere nothing is
to be saved, so it ends the work where it is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from beit_exp.errors import Interrupted
from beit_exp.hardware.process import handle_stops, let_stops_in, shell_status

AGAIN_S = 1.0  # what comes sooner is the same request: a terminal and a launcher both send it
LATER_S = 0.05  # what comes while an object is cleared away comes again
_requests: list[StopRequest] = []  # of the blocks under way, the innermost last


class StopRequest:
    """Remembers the first of STOPS; a second Ctrl-C raises `Interrupted`, a third ends the process.

    One that `acts_at_once` raises at the first.
    """

    def __init__(self, *, acts_at_once: bool = False) -> None:
        self.acts_at_once = acts_at_once
        self.signal_number: int | None = None
        self.came_at = 0.0
        self.has_raised = False

    def note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_first = not self.is_asked
        is_impatient = number == signal.SIGINT and not is_first and now - self.came_at > AGAIN_S
        if is_impatient and self.has_raised:
            os._exit(shell_status(-number))
        raises = is_impatient or (is_first and self.acts_at_once)
        if raises and is_in_finalizer(frame):
            threading.Timer(LATER_S, os.kill, (os.getpid(), number)).start()
            return
        if is_first or is_impatient:
            self.signal_number, self.came_at = number, now
        if raises:
            self.has_raised = True
            raise Interrupted(number)

    def take_over(self, inner: StopRequest) -> None:
        """What came to a block inside has come here, too, and has been acted on."""
        if inner.is_asked:
            self.signal_number, self.came_at = inner.signal_number, inner.came_at
            self.has_raised = True

    @property
    def is_asked(self) -> bool:
        return self.signal_number is not None

    @property
    def number(self) -> int:
        """The signal's; SIGTERM for one that came to another rank: that is what ranks are sent."""
        return self.signal_number or signal.SIGTERM

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.is_asked:
            raise Interrupted(self.number)


def is_in_finalizer(frame: FrameType | None) -> bool:
    """Whether Python would print and drop what is raised there."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def until_stopped(work: Callable[[], int]) -> int:
    """The exit status of some work, or that of the signal that ended it."""
    try:
        with listening(acts_at_once=True):
            return work()
    except Interrupted as stop:
        return shell_status(-stop.signal_number)


@contextmanager
def listening(*, acts_at_once: bool = False) -> Iterator[StopRequest]:
    """What asks to stop becomes a `StopRequest` inside the block."""
    request = StopRequest(acts_at_once=acts_at_once)
    previous = handle_stops(request.note)
    _requests.append(request)
    let_stops_in()  # as a worker is started, they wait
    try:
        yield request
    finally:
        _requests.remove(request)
        for number, handler in previous.items():
            signal.signal(number, handler)
        if _requests:
            _requests[-1].take_over(request)
