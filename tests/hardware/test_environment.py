from __future__ import annotations

from pathlib import Path

from beit_exp.hardware.environment import cann_version, environment_tags


def test_the_version_of_cann_is_that_of_the_toolkit_in_use(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert cann_version() is None
    (tmp_path / "x86_64-linux").mkdir()
    (tmp_path / "x86_64-linux" / "ascend_toolkit_install.info").write_text(
        "package_name=a\nversion=8.0.RC3\n"
    )
    assert environment_tags()["cann"] == "8.0.RC3"
