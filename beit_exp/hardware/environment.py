"""What a result may depend on besides the settings: code, versions, machine."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from beit_exp.config.command_line import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
COMMIT_TAG, DIRTY_TAG = "mlflow.source.git.commit", "mlflow.source.git.dirty"


def environment_tags() -> dict[str, str]:
    """Names and values, as tags of a run."""
    tags = {"host": platform.node(), "python": platform.python_version()}
    tags |= {  # columns of MLflow's page
        "mlflow.user": user_name(),
        "mlflow.source.name": os.environ.get(PROGRAM, "launch.py").split()[-1],
        "mlflow.source.type": "LOCAL",
    }
    tags |= {name: metadata.version(name) for name in ("mindspore", "numpy")}
    if (cann := cann_version()) is not None:
        tags["cann"] = cann
    return tags | git_tags()


def user_name() -> str:
    """Who runs this; a container may know no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def git_tags() -> dict[str, str]:
    """The commit of this clone and whether files that git knows have changed since.

    Nothing where this is no clone, or where git is missing or refuses.
    """
    if not (ROOT / ".git").exists():
        return {}
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "-uno")
    if commit is None or changed is None:
        return {}
    return {
        COMMIT_TAG: commit,
        DIRTY_TAG: str(bool(changed)).lower(),
    }


def git(*arguments: str) -> str | None:
    """What git says of this clone; None if it fails."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def cann_version() -> str | None:
    """The version of Ascend's toolkit whose `set_env.sh` this environment has read, if any."""
    home = os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")
    for path in sorted(Path(home).glob("**/ascend_toolkit_install.info")) if home else []:
        for line in path.read_text().splitlines():
            if line.startswith("version="):
                return line.partition("=")[2]
    return None
