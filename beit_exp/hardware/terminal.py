"""What a terminal, or the file in its place, is given to show."""

from __future__ import annotations

import io
import sys


def take_any_text() -> None:
    """Show what the encoding of the output lacks as escapes: a path is no reason to end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
