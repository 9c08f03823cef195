from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pictures.pty_run import run_in_terminal
from pictures.terminal import screen_lines, shortened


def test_of_a_line_that_was_written_over_the_last_state_is_kept() -> None:
    written = "begin\r\nstep 1\r\x1b[2Kstep 2\r\n\x1b[?25h\r\x1b[1A\x1b[2Kresult\r\n"
    assert screen_lines(written) == ["begin", "step 2", "result", ""]


def test_evaluations_in_the_middle_are_left_out_and_folders_named_shortly() -> None:
    lines = [f"epoch {number}/9  val/loss 1" for number in range(1, 10)]
    found = shortened([*lines, "files /there/runs/1", "", ""], Path("/there"))
    assert found == [*lines[:2], "…", *lines[-2:], "files /home/me/beit/runs/1"]


def test_a_command_in_a_terminal_sees_one_of_its_width(tmp_path: Path) -> None:
    program = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns)"
    command = [sys.executable, "-c", program]
    assert run_in_terminal(command, folder=tmp_path, columns=77, environment={}) == "True 77\r\n"


def test_a_command_that_fails_in_a_terminal_is_told_with_its_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no images')"]
    with pytest.raises(RuntimeError, match=r"ended with exit status 1:\s+no images"):
        run_in_terminal(command, folder=tmp_path, columns=77, environment={})
