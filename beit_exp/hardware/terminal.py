"""What a terminal, or the file in its place, is given to show."""

from __future__ import annotations

import io
import os
import sys

from beit_exp.config.chinese import bilingual
from beit_exp.errors import UserError
from beit_exp.storage.passwords import hide_password


def take_any_text() -> None:
    """Show what the encoding of the output lacks as escapes: a path is no reason to end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(text: str) -> None:
    """Print, unless nobody reads any more, as after `| head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: UserError) -> None:
    """Show what the user can mend: no password, and with Chinese for who reads that."""
    print(bilingual(hide_password(str(error)), sys.stderr), file=sys.stderr)
