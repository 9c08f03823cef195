from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.hardware import environment
from beit_exp.hardware.environment import cann_version, environment_tags, git_tags


def test_the_version_of_cann_is_that_of_the_toolkit_in_use(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert cann_version() is None
    (tmp_path / "x86_64-linux").mkdir()
    (tmp_path / "x86_64-linux" / "ascend_toolkit_install.info").write_text(
        "package_name=a\nversion=8.0.RC3\n"
    )
    assert environment_tags()["cann"] == "8.0.RC3"


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(environment.getpass, "getuser", nameless)
    assert environment_tags()["mlflow.user"].isdecimal()


def test_the_commit_is_told_with_what_has_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert git_tags() == {}
    environment.git("init", "--quiet")
    assert git_tags() == {}  # nothing is committed
    (tmp_path / "a").write_text("1")
    environment.git("add", "a")
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    environment.git(*author, "commit", "--quiet", "--message=a")
    commit = environment.git("rev-parse", "HEAD")
    clean = {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": "false"}
    assert git_tags() == clean
    (tmp_path / "a").write_text("2")
    assert git_tags() == {**clean, "mlflow.source.git.dirty": "true"}


def test_a_git_that_refuses_leaves_no_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert git_tags() == {}
