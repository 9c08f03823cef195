"""A shared file system that answers slowly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from whole_runs import Command, small

pytestmark = pytest.mark.slow

# Of every Python process: what is asked of the images takes 2 ms more, and is noted
SLOW = """
import os, sys, time

DATA, LOG = os.environ["SLOW_DATA"], os.open(os.environ["SLOW_LOG"], os.O_WRONLY | os.O_APPEND)

def wait(event, arguments):
    if event in ("open", "os.scandir", "os.listdir") and str(arguments[0]).startswith(DATA):
        time.sleep(0.002)
        os.write(LOG, f"{event} {arguments[0]}\\n".encode())

sys.addaudithook(wait)
"""


def test_a_slow_file_system_costs_the_start_once_and_each_epoch_its_images_alone(
    few_digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(SLOW)

    def asked(epochs: int) -> Counter[str]:
        """How often a run asked for what."""
        folder = tmp_path / str(epochs)
        folder.mkdir()
        log = folder / "asked.log"
        log.touch()
        environment = {
            "PYTHONPATH": str(tmp_path / "hook"),
            "SLOW_DATA": str(few_digits),
            "SLOW_LOG": str(log),
        }
        done = Command(folder, environment)(*small(few_digits, epochs=epochs))
        assert done.returncode == 0, done.stdout + done.stderr
        return Counter(log.read_text().splitlines())

    short, long = asked(2), asked(4)
    assert any(line.startswith("os.scandir") for line in short)
    more = long - short
    assert set(more) <= {f"open {path}" for path in few_digits.glob("*/*/*")}
    # Of validation images some are drawn at the end, which depends on the weights
    trained_on = few_digits.glob("train/*/*")
    assert {more[f"open {path}"] for path in trained_on} == {2}  # once in each further epoch
