from __future__ import annotations

import os
import sys
from pathlib import Path

from settings import ROOT

from beit_exp.hardware.process import worker_command, worker_environment


def test_worker_runs_with_this_interpreter_and_finds_the_package_from_anywhere(monkeypatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert worker_command(Path("run")) == [sys.executable, "-m", "beit_exp.worker", "run"]
    environment = worker_environment()
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
