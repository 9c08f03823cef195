"""The wheel, in an environment of its own and away from the clone."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from settings import ROOT, TINY
from whole_runs import metrics_of

from beit_exp.model.operations import onednn_kernels

pytestmark = pytest.mark.slow
PIPED = {"capture_output": True, "text": True}


def test_the_wheel_brings_the_command_and_every_setting(tmp_path: Path, few_digits: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, tracked):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source], check=True
    )
    wheel = next(tmp_path.glob("beit_exp-*.whl"))

    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    packages = next((environment / "lib").glob("python*/site-packages"))
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    # What a network would bring
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    own = {**os.environ, "PYTHONPATH": ""}
    settings = (*TINY, "train.epochs=2", f"dataset.data_url={few_digits}", "hydra.run.dir=run")
    done = subprocess.run(
        [environment / "bin" / "beit-exp", *settings], cwd=tmp_path, env=own, check=False, **PIPED
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics_of(tmp_path / "run")["epoch"] == 2
    code = (
        "from beit_exp.launch.overrides import CONF\n"
        "from beit_exp.model.operations import onednn_kernels\n"
        "print(CONF, onednn_kernels.describe())"
    )
    found = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=own, check=True, **PIPED
    ).stdout.strip()
    place, _, kernels = found.splitlines()[-1].partition(" ")
    assert kernels == onednn_kernels.describe()
    installed, cloned = Path(place), ROOT / "conf"
    assert installed.is_relative_to(environment)
    names = {str(path.relative_to(cloned)) for path in cloned.rglob("*.yaml")}
    assert {str(path.relative_to(installed)) for path in installed.rglob("*.yaml")} == names
