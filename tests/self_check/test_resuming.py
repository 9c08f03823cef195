from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.self_check.resuming import OUTPUT, why

CRASH = """steps     10 an epoch
Fatal Python error: Segmentation fault

Thread 0x00007f7be9c41b80 (most recent call first):
  File "step.py", line 95 in leave
  File "member.py", line 20 in <module>
rank 0 of 2 was killed by signal 11
"""


@pytest.mark.parametrize(
    ("log", "output", "said"),
    [
        ("10:00 ERROR worker: the disk is full\n", CRASH, "the disk is full"),
        ("", CRASH, 'Fatal Python error: Segmentation fault in File "step.py", line 95 in leave'),
        ("", "starting\nno card answers\n", "no card answers"),
        ("", "", "it said nothing"),
    ],
)
def test_an_end_is_told_by_an_error_a_crash_or_the_last_line(
    log: str, output: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "launch.log").write_text(log)
    (tmp_path / OUTPUT).write_text(output)
    assert why(tmp_path) == said
