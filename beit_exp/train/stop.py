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
from typing import Any

from beit_exp.errors import Interrupted
from beit_exp.hardware.process import STOPS, heard_stops, shell_status

AGAIN_S = 1.0  # what comes sooner is the same request: a terminal and a launcher both send it
LATER_S = 0.05  # what comes while an object is cleared away comes again
INTERRUPT = signal.SIGUSR1  # what a thread makes of SIGINT: see `hear_interrupts_apart`
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
        if is_in_finalizer(frame):
            threading.Timer(LATER_S, os.kill, (os.getpid(), number)).start()
            return
        number = signal.SIGINT if number == INTERRUPT else number
        now = time.monotonic()
        is_first = not self.is_asked
        is_impatient = number == signal.SIGINT and not is_first and now - self.came_at > AGAIN_S
        if is_first or is_impatient:
            self.signal_number, self.came_at = number, now
        if is_impatient and self.has_raised:
            os._exit(shell_status(-number))
        if is_impatient or (is_first and self.acts_at_once):
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


def hear_interrupts_apart() -> None:
    """Have a thread wait for SIGINT, from before any other is there.

    Whenever MindSpore runs a graph it puts a handler of its own in the place of ours, which makes
    SIGTERM of SIGINT: a second Ctrl-C would not act at once. What is blocked reaches no handler.
    """
    if signal.SIGINT not in heard_stops():
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, INTERRUPT))
    signal.signal(INTERRUPT, lambda *_: None)
    threading.Thread(target=_pass_on_interrupts, name="interrupts", daemon=True).start()


def _pass_on_interrupts() -> None:
    while True:
        signal.sigwait([signal.SIGINT])
        signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)


def _are_heard_apart() -> bool:
    return signal.getsignal(INTERRUPT) is not signal.SIG_DFL


def handle_stops(handle: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Give what asks to stop to `handle`; returns the handlers before, by number."""
    numbers = [*heard_stops(), *([INTERRUPT] if _are_heard_apart() else [])]
    return {number: signal.signal(number, handle) for number in numbers}


@contextmanager
def listening(*, acts_at_once: bool = False) -> Iterator[StopRequest]:
    """What asks to stop becomes a `StopRequest` inside the block."""
    request = StopRequest(acts_at_once=acts_at_once)
    previous = handle_stops(request.note)
    _requests.append(request)
    # As a worker is started, they wait
    apart = {signal.SIGINT} if _are_heard_apart() else set()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*STOPS, *previous} - apart)
    try:
        yield request
    finally:
        _requests.remove(request)
        for number, handler in previous.items():
            signal.signal(number, handler)
        if _requests:
            _requests[-1].take_over(request)
