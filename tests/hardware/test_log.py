from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from beit_exp.hardware.log import Discreet, LogFile


def test_what_is_logged_tells_no_password_not_even_a_traceback() -> None:
    try:
        raise RuntimeError("https://me:pa55@host/api failed")
    except RuntimeError:
        record = logging.makeLogRecord({"msg": "at %s", "exc_info": sys.exc_info()})
        record.args = ("postgresql://me:pa55@host/db",)
    line = Discreet("%(message)s").format(record)
    assert line.startswith("at postgresql://me:***@host/db\nTraceback")
    assert "RuntimeError: https://me:***@host/api failed" in line and "pa55" not in line


def test_a_log_that_cannot_be_written_says_nothing_of_its_own(tmp_path: Path, capsys) -> None:
    log = LogFile(tmp_path / "launch.log")
    log.stream = open("/dev/full", "w")  # noqa: SIM115 (the handler closes it)
    log.emit(logging.makeLogRecord({"msg": "the disk is full"}))
    log.stream = None
    assert capsys.readouterr().err == ""


def test_what_libraries_say_when_they_leave_goes_to_the_log(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from beit_exp.hardware.log import leave_terminal, set_up_logging
set_up_logging(Path({str(tmp_path)!r}), is_leader=True)
os.write(2, b"before\\n")
leave_terminal()
os.write(2, b"after\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "before\n"
    assert (tmp_path / "launch.log").read_text() == "after\n"
