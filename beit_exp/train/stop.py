"""Stopping on a signal without losing anything: the signal leaves a note, the loop reads it between
two steps.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from beit_exp.errors import Interrupted


class StopRequest:
    """Remembers the first SIGINT or SIGTERM; a second one takes effect at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        if self.signal_number is not None:
            raise Interrupted(number)
        self.signal_number = number

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


@contextmanager
def listening() -> Iterator[StopRequest]:
    """SIGINT and SIGTERM become a `StopRequest` inside the block."""
    request = StopRequest()
    previous = {
        number: signal.signal(number, request.note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
