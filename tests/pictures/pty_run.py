"""A command run as in a terminal: what it wrote, byte by byte."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path

ROWS = 50


def run_in_terminal(
    command: list[str], *, folder: Path, columns: int, environment: Mapping[str, str]
) -> str:
    """What a command writes to a terminal of that many columns; an error if it fails."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, stdin=its, stdout=its, stderr=its, env=environment, close_fds=True
    )
    os.close(its)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        written = b"".join(iter(lambda: _read(terminal.fileno()), b""))
    if status := process.wait():
        told = written.decode(errors="replace")
        raise RuntimeError(f"{' '.join(command)} ended with exit status {status}:\n{told}")
    return written.decode()


def _read(terminal: int) -> bytes:
    """The next bytes; none at the end, which Linux tells by an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
