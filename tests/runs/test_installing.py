"""Without the constraints file, old and new installers find what `pyproject.toml` asks for."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from whole_runs import copy_sources

pytestmark = pytest.mark.slow
# Each takes well under a minute; one that walks back through releases finds no end
PATIENCE_S = 300

OLD_PIP = ("pip==23.2.1", "pip install --dry-run --ignore-installed")
NEW_PIP = ("pip==26.0", "pip install --dry-run --ignore-installed")
UV = ("uv", "uv pip install --dry-run --system --reinstall")


@pytest.mark.parametrize(
    ("installer", "command"), [pytest.param(*OLD_PIP, marks=pytest.mark.long), NEW_PIP, UV]
)
def test_an_installer_finds_all_for_development(
    installer: str, command: str, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "--python", environment, "install", "-q", installer],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode != 0:
        pytest.skip(f"no package index to be reached: {fetched.stderr[-200:]}")
    source = tmp_path / "source"
    copy_sources(source)
    done = subprocess.run(
        [environment / "bin" / command.split()[0], *command.split()[1:], f"{source}[dev]"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = done.stdout + done.stderr
    assert all(name in found for name in ("mindspore", "moto", "s3fs", "aiobotocore"))
