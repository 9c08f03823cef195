"""The log of a process of a run: plain lines on the terminal, and its own file with their times."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from beit_exp.config.chinese import bilingual
from beit_exp.hardware import cluster
from beit_exp.storage.passwords import hide_password


class Discreet(logging.Formatter):
    """Lines without passwords: an error of a library may tell an address as it was given."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_password(super().format(record))


class Screen(logging.Handler):
    """Plain lines on standard output, above the progress line where there is one; what ends a run
    with Chinese for who reads that.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        is_told = record.levelno >= logging.WARNING
        print(bilingual(line, sys.stdout) if is_told else line, flush=True)


class LogFile(logging.FileHandler):
    """The log in a run directory, which a full disk leaves short: what matters is on the screen."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging calls it)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def set_up_logging(run_dir: Path, *, is_leader: bool) -> None:
    """Plain lines to the terminal and, with times, to launch.log or, of the other ranks, their own.

    Of the ranks but the first, errors alone reach the terminal.
    """
    screen = Screen(logging.NOTSET if is_leader else logging.ERROR)
    screen.setFormatter(Discreet("%(message)s"))
    file = LogFile(run_dir / cluster.log_name())
    file.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[screen, file])
    logging.getLogger("beit_exp").setLevel(logging.INFO)
    logging.getLogger("__main__").setLevel(logging.INFO)


def leave_terminal() -> None:
    """What is written to standard error goes to this process's log from now on.

    MindSpore, leaving its cluster, writes notes there, whatever its log level says: the MSLOG_IF of
    its tcp_server.cc does not ask for that.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile) and handler.stream is not None:
            os.dup2(handler.stream.fileno(), sys.stderr.fileno())
