from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from beit_exp import doctor
from beit_exp.errors import UserError


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of the checks runs in this process, which has the libraries loaded."""

    def run(
        code: str, *, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        shown = io.StringIO()
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        try:
            with contextlib.redirect_stdout(shown):
                exec(code, {})
        except Exception as error:
            return subprocess.CompletedProcess([], 1, "", str(error))
        return subprocess.CompletedProcess([], 0, shown.getvalue(), "")

    monkeypatch.setattr(doctor, "_python", run)


def test_code_of_a_check_runs_in_a_process_of_its_own() -> None:
    done = doctor._python("import os, sys; print(os.getppid()); sys.exit('broken')")
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{os.getpid()}\n", "broken\n")


def test_a_sound_machine_needs_nothing(
    here: None, store: str, few_digits: Path, tmp_path: Path, capsys
) -> None:
    assert doctor.main(["--data", str(few_digits), "--uri", store, "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "fix" not in out
    assert out.count("ok") >= 9


@pytest.mark.parametrize(
    ("version", "fix"),
    [("2.4.6", "pip install 'numpy>=1.26.4,<2'"), ("not installed", "pip install 'numpy")],
)
def test_a_numpy_that_mindspore_cannot_use_is_named(version: str, fix: str, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: version)
    assert fix in doctor.check_numpy().fix


def test_another_mindspore_is_named(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: "2.9.0")
    assert "pip install" in doctor.check_mindspore().fix


def test_a_store_that_does_not_answer_is_named(here: None, silent_store: str) -> None:
    found = doctor.check_store(silent_store)
    assert "start the server" in found.fix and "Connection refused" in found.seen


@pytest.mark.parametrize("folders", [(), ("train/a", "train/b"), ("train/a", "train/b", "val/a")])
def test_a_data_folder_that_cannot_be_right_is_named(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert doctor.check_data(tmp_path).fix


def test_class_folders_alone_are_a_data_set(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    found = doctor.check_data(tmp_path)
    assert found.fix is None and found.seen.startswith(f"2 classes in {tmp_path}")
    assert doctor.check_data(tmp_path / "none").fix


def test_a_full_disk_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "LEAST_DISK_GB", 1e9)
    assert "choose another hydra.run.dir" in doctor.check_disk(tmp_path / "new" / "runs").fix


def test_an_old_python_is_named(monkeypatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))
    assert "3.10, 3.11 or 3.12" in doctor.check_python().fix


@pytest.mark.slow
def test_a_stores_password_is_neither_shown_nor_on_a_command_line(
    silent_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, run = [], subprocess.run

    def recorded(command: list[str], **options: object) -> object:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", recorded)
    found = doctor.check_store(silent_store.replace("//", "//me:pa55@"))
    assert found.seen.startswith("http://me:***@127.0.0.1:9: ")
    assert "pa55" not in found.seen + str(commands)


def test_a_machine_without_room_for_temporary_files_is_told_before_anything_needs_them(
    monkeypatch, capsys
) -> None:
    def refuse() -> Path:
        raise UserError("temporary files can be written to none of ['/tmp']: set TMPDIR")

    monkeypatch.setattr(doctor, "temporary_folder", refuse)
    found = doctor.check_temporary()
    assert (found.name, found.fix) == ("temporary files", "set TMPDIR")
    assert doctor.main(["--self-check"]) == doctor.main(["--dry-run", "ascend"]) == 2
    assert capsys.readouterr().err.count("none of ['/tmp']: set TMPDIR\n") == 2


def test_settings_are_told_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--settings", "mask.exact"]) == doctor.main(["--settings=mask.exact"]) == 0
    assert capsys.readouterr().out.count("  mask.exact  true: single patches") == 2
    assert doctor.main(["--settings", "mask.exat"]) == 2
    assert "Did you mean mask.exact?" in capsys.readouterr().err


def test_writing_goes_with_settings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["--write"])
    assert "--write goes with --settings" in capsys.readouterr().err
