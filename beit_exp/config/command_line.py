"""Commands as they are printed: quoted for Hydra and for a shell, so that they can be pasted."""

from __future__ import annotations

import os
import re
import shlex
from functools import partial
from pathlib import Path

PROGRAM = "BEIT_EXP_PROGRAM"  # how this process was started, if by the command
FLAGS = "BEIT_EXP_FLAGS"  # of Hydra, that its overrides need
PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./@%:+-]*")
WORDS_OF_HYDRA = {"null", "true", "false", "nan", "inf", "on", "off", "yes", "no"}


def override(key: str, value: object) -> str:
    """`key=value` such that Hydra finds this very text; quoted where it would read it otherwise.

    Inside quotes Hydra takes everything literally but quotes, the backslashes before them, and
    interpolations.
    """
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in WORDS_OF_HYDRA:
        return f"{key}={text}"
    mark = "'" if '"' in text else '"'
    literal = re.sub(rf"(\\*)({mark}|$)", partial(_escape, mark), text)
    return f"{key}={mark}{literal.replace('${', chr(92) + '${')}{mark}"


def _escape(mark: str, found: re.Match[str]) -> str:
    return 2 * found[1] + (f"\\{mark}" if found[2] else "")


def launch_command(*overrides: str) -> str:
    """The command that starts a run with these overrides, the program as it was typed.

    With the folder of one's own settings where one was typed; without overrides the quickstart.
    """
    flags = shlex.split(os.environ.get(FLAGS, "")) if overrides else []
    return shlex.join([*shlex.split(os.environ.get(PROGRAM) or _program()), *flags, *overrides])


def _program() -> str:
    """Where this process was not started by the command: a clone's file, or the installed one."""
    script = Path(__file__).resolve().parents[2] / "launch.py"
    if not script.exists():
        return "beit-exp"
    return shlex.join(["python", script.name if script.parent == Path.cwd() else str(script)])


def module_command(module: str, *arguments: object) -> str:
    """`python -m beit_exp.<module> ...`."""
    return shlex.join(["python", "-m", f"beit_exp.{module}", *map(str, arguments)])
