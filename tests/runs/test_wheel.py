"""The wheel, in an environment of its own and away from the clone."""

from __future__ import annotations

import email
import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from settings import ROOT, TINY
from whole_runs import copy_sources, metrics_of

from beit_exp.model.operations import onednn_kernels
from setup import describe

pytestmark = pytest.mark.slow
PIPED = {"capture_output": True, "text": True}


def test_the_wheel_brings_the_command_and_every_setting(tmp_path: Path, few_digits: Path) -> None:
    source = tmp_path / "source"
    copy_sources(source)
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
    assert description_in(wheel) == describe(source)
    check_own_experiment(environment / "bin" / "beit-exp", tmp_path, own)
    code = (
        "from beit_exp.launch.composition import CONF\n"
        "from beit_exp.model.operations import onednn_kernels\n"
        "from beit_exp.self_check import golden\n"
        "assert golden.FOLDER.is_relative_to(CONF.parent), golden.FOLDER\n"
        "assert len(golden.load_reference().gradients) > 50\n"
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


def description_in(wheel: Path) -> str:
    """What an index of packages shows."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    return metadata.get_payload(decode=True).decode()


def check_own_experiment(program: Path, folder: Path, environment: dict[str, str]) -> None:
    """The installed command finds an experiment in a folder of the user's, and checks it."""
    more = folder / "more" / "experiment"
    more.mkdir(parents=True)
    (more / "mine.yaml").write_text("# @package _global_\noptimizer:\n  base_lr: 0.25\n")
    (more / "wrong.yaml").write_text("# @package _global_\noptimizer:\n  lrr: 1\n")
    words = ("--config-dir=more", "--cfg", "job", "--package", "optimizer.base_lr")
    found, wrong, version = (
        subprocess.run([program, *each], cwd=folder, env=environment, check=False, **PIPED)
        for each in (
            (*words, "experiment=mine"),
            ("--config-dir=more", "experiment=wrong"),
            ("--version",),
        )
    )
    assert (found.returncode, found.stdout) == (0, "0.25\n")
    assert wrong.returncode == 2
    assert (
        "optimizer.lrr: there is no such setting. Did you mean optimizer.base_lr?" in wrong.stderr
    )
    assert version.stdout == "beit-exp 0.1.0\n"
