"""How a process of several tells its exit status: before its libraries clean up, not by dying.

MindSpore's cluster, when the ranks leave it, now and then crashes a process whose work is done; and
a rank that leaves it early takes with it what the others may still wait for. So a rank tells its
status to the process that started it, and leaves when that lets it go.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from beit_exp.hardware.process import shell_status, start

LINE = "BEIT_EXP_LINE"  # the file descriptor of a rank's socket to the process that started it


class Rank:
    """A process that tells its exit status."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self.line, its_end = socket.socketpair()
        with its_end:
            number = its_end.fileno()
            self.process = start(command, {**environment, LINE: str(number)}, keep=(number,))
        self.line.setblocking(False)
        self.told: int | None = None

    def status(self) -> int | None:
        """What it told or, if it ended without a word, what a shell would tell; None while it
        works.
        """
        ended = self.process.poll()  # first: what it told before it ended can be read afterwards
        if self.told is None:
            self._listen()
        if self.told is not None or ended is None:
            return self.told
        return shell_status(ended)

    def ended(self) -> int | None:
        """How the process itself ended, as Python tells it; None while it lives."""
        return self.process.poll()

    def let_go(self) -> None:
        """Let it clean up and end."""
        self.line.close()

    def end(self) -> None:
        """End it now, whatever it does."""
        self.line.close()
        self.process.kill()
        self.process.wait()

    def _listen(self) -> None:
        try:
            word = self.line.recv(1)
        except (BlockingIOError, ConnectionResetError):
            return
        if word:
            self.told = word[0]


def tell(status: int) -> None:
    """Tell the exit status to the process that started this one, and wait until it lets go.

    Nothing where this process is not one of several.
    """
    if LINE not in os.environ:
        return
    with (
        socket.socket(fileno=int(os.environ[LINE])) as line,
        contextlib.suppress(ConnectionError),  # that process is gone
    ):
        line.sendall(bytes([status]))
        line.recv(1)  # nothing comes: it is closed
