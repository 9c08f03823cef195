from __future__ import annotations

import json
from pathlib import Path

import pytest
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.hardware.environment import cann_version, environment_tags
from beit_exp.tracking.mlflow_store import open_experiment
from beit_exp.tracking.tracker import open_tracker


@pytest.fixture
def run(tmp_path: Path):
    """A configuration and a run directory that log to a SQLite store."""
    cfg = make_config(
        f"tracking.uri=sqlite:///{tmp_path / 'store' / 'mlflow.db'}", "tracking.run_name=test"
    )
    run_dir = tmp_path / "run"
    save_config(cfg, run_dir / "config.yaml")
    return cfg, run_dir


def stored_run(cfg, run_dir: Path):
    client, _ = open_experiment(cfg.tracking.uri, cfg.tracking.experiment)
    return client, client.get_run(json.loads((run_dir / "mlflow.json").read_text())["run_id"])


def test_a_run_is_tagged_with_code_and_versions(run) -> None:
    cfg, run_dir = run
    with open_tracker(cfg, run_dir):
        pass
    tags = stored_run(cfg, run_dir)[1].data.tags
    assert tags["numpy"].startswith("1.26") and tags["mindspore"].startswith("2.10")
    assert len(tags.get("git.commit", "0" * 40)) == 40
    assert {"host", "python"} <= tags.keys()


def test_the_version_of_cann_is_that_of_the_toolkit_in_use(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert cann_version() is None
    (tmp_path / "x86_64-linux").mkdir()
    (tmp_path / "x86_64-linux" / "ascend_toolkit_install.info").write_text(
        "package_name=a\nversion=8.0.RC3\n"
    )
    assert environment_tags()["cann"] == "8.0.RC3"
