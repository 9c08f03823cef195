"""A user as a container may have: without a name or a home, who can write to one folder alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bare_kernels import COMPILED
from settings import ROOT
from whole_runs import copy_sources, metrics_of

UID = 12345
# May read what is root's, for Python may lie in root's home; may write nothing that is root's
STRANGER = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
# Everything but the folder, for this one process and those below it
ALL_READ_ONLY = """
mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro / || exit 99
for place in /tmp /var/tmp; do
    mountpoint -q $place && { mount -o remount,bind,ro $place || exit 99; }
done
cd "$1" && shift && exec "$@"
"""
SMALL = ("train.epochs=1", "dataset.images_per_class=8")


def can_become(*words: str) -> bool:
    if shutil.which("setpriv") is None or shutil.which("unshare") is None or os.getuid() != 0:
        return False
    return subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_become(*STRANGER), reason="needs root, and setpriv of util-linux"),
]
needs_mounts = pytest.mark.skipif(
    not can_become("unshare", "--mount"), reason="needs a container that may mount"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clone as its owner alone can write it, without what earlier processes kept in it."""
    folder = tmp_path_factory.mktemp("package")
    copy_sources(folder)
    if COMPILED.exists():
        shutil.copy(COMPILED, folder / COMPILED.relative_to(ROOT))
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The one folder that the user can write to."""
    folder = tmp_path / "own"
    folder.mkdir()
    os.chown(folder, UID, UID)
    return folder


def run_as_stranger(
    package: Path, own: Path, *words: str, place: Path | None = None, tmpdir: str = ""
) -> subprocess.CompletedProcess[str]:
    """`python ...` in the folder or, with all else read-only, in a place."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(package),
    }
    if tmpdir:
        environment["TMPDIR"] = tmpdir
    mounts = [] if place is None else ["unshare", "--mount", "sh", "-c", ALL_READ_ONLY, own, place]
    return subprocess.run(
        [*mounts, *STRANGER, sys.executable, *words],
        cwd=own,
        env=environment,
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def user_of(own: Path) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{own / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("beit")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run.data.tags["mlflow.user"]


def test_a_user_without_a_name_trains_with_a_package_that_others_own(
    package: Path, own: Path
) -> None:
    before = sorted(package.rglob("*"))
    words = (str(package / "launch.py"), *SMALL, "hydra.run.dir=run")
    done = run_as_stranger(package, own, *words, tmpdir="/nonexistent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert metrics_of(own / "run")["epoch"] == 1
    assert user_of(own) == str(UID)
    files = [path for path in own.rglob("*") if path.is_file()]
    assert [path for path in files if path.stat().st_mode & 0o077] == []  # as the umask says
    assert sorted(package.rglob("*")) == before


@needs_mounts
def test_one_folder_that_can_be_written_is_enough(package: Path, own: Path) -> None:
    words = (str(package / "launch.py"), *SMALL, "hydra.run.dir=run")
    done = run_as_stranger(package, own, *words, place=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics_of(own / "run")["epoch"] == 1


@pytest.mark.long
@needs_mounts
def test_no_folder_for_temporary_files_is_one_message(package: Path, own: Path) -> None:
    places = (f"dataset.data_url={own}/digits", f"tracking.uri=sqlite:///{own}/mlflow.db")
    words = (str(package / "launch.py"), *SMALL, *places, f"hydra.run.dir={own}/run")
    report = ("-m", "beit_exp.report", f"{own}/run", "--output", f"{own}/report")
    convert = ("-m", "beit_exp.weights", f"{own}/run", f"{own}/out.safetensors")
    for command in (words, report, convert):
        done = run_as_stranger(package, own, *command, place=Path("/"))
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert "set TMPDIR to a folder that can be written" in done.stderr

    mended = run_as_stranger(package, own, *words, place=Path("/"), tmpdir=str(own))
    assert mended.returncode == 0, mended.stdout + mended.stderr


def test_the_doctor_finds_a_machine_sound_without_a_name(package: Path, own: Path) -> None:
    done = run_as_stranger(package, own, "-m", "beit_exp.doctor")
    assert "ok    temporary files" in done.stdout
    assert "MindSpore       2.10" in done.stdout and "computes" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@needs_mounts
def test_the_doctor_tells_that_nothing_can_be_kept_for_a_moment(package: Path, own: Path) -> None:
    done = run_as_stranger(package, own, "-m", "beit_exp.doctor", place=Path("/"))
    assert done.returncode == 1
    assert "fix   temporary files" in done.stdout
    assert "set TMPDIR to a folder that can be written" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
