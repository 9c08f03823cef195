"""What a result may depend on besides the settings: code, versions, machine."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment_tags() -> dict[str, str]:
    """Names and values, as tags of a run."""
    tags = {"host": platform.node(), "python": platform.python_version()}
    # Columns of MLflow's page
    tags |= {"mlflow.user": getpass.getuser(), "mlflow.source.name": "launch.py"}
    tags |= {name: metadata.version(name) for name in ("mindspore", "numpy")}
    if (cann := cann_version()) is not None:
        tags["cann"] = cann
    if (ROOT / ".git").exists() and shutil.which("git"):
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False
        )
        tags |= {
            "git.commit": commit.stdout.strip(),
            "git.dirty": str(bool(changed.stdout.strip())).lower(),
        }
    return tags


def cann_version() -> str | None:
    """The version of Ascend's toolkit whose `set_env.sh` this environment has read, if any."""
    home = os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")
    for path in sorted(Path(home).glob("**/ascend_toolkit_install.info")) if home else []:
        for line in path.read_text().splitlines():
            if line.startswith("version="):
                return line.partition("=")[2]
    return None
