from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from settings import ROOT

from beit_exp.hardware.terminal import take_any_text

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"}
SHOWN = "运行".encode("ascii", "backslashreplace").decode()


def test_what_an_encoding_lacks_is_shown_as_escapes() -> None:
    code = f"from {take_any_text.__module__} import take_any_text; take_any_text(); print('运行')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **ASCII},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{SHOWN}\n"


ANSWERS = [["launch.py", "--help"], ["-m", "beit_exp.doctor", "--settings"]]


@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_our_own_files_are_read_as_utf_8_whatever_the_locale_says(words: list[str]) -> None:
    locale = {**ASCII, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **locale},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"seed" in done.stdout and done.stdout.isascii()


@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_what_is_read_in_part_ends_without_a_traceback(words: list[str]) -> None:
    shown = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    shown.stdout.close()  # as `| head` does once it has its lines
    assert shown.stderr.read() == b""
    assert shown.wait() == 0


@pytest.mark.slow
def test_runs_have_any_name_on_a_terminal_that_shows_ascii_alone(
    few_digits: Path, tmp_path: Path
) -> None:
    from whole_runs import small

    (tmp_path / "数据").symlink_to(few_digits)

    def call(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**os.environ, **ASCII, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            encoding="ascii",
            check=False,
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return done.stdout

    assert SHOWN in call(str(ROOT / "launch.py"), *small("数据"), "hydra.run.dir=运行")
    assert SHOWN in call("-m", "beit_exp.report", "运行")
