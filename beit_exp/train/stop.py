"""Stopping on a signal without losing anything: the signal leaves a note, the loop reads it between
two steps.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np

from beit_exp.errors import Interrupted


class StopRequest:
    """Remembers the first SIGINT or SIGTERM; a second one takes effect at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        if self.signal_number is not None:
            raise Interrupted(number)
        self.signal_number = number

    def check(self, agree: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        """Raise `Interrupted` if a signal has come; with `agree` (`Runtime.gather`), if it has come
        to any rank.
        """
        number = self.signal_number or 0
        if agree is not None:
            number = int(agree(np.array([number])).max())
        if number:
            raise Interrupted(number)


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
