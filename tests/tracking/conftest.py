from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import Config
from beit_exp.tracking.mlflow_store import open_experiment


class Tracked(NamedTuple):
    """A configuration and a run directory that log to a SQLite store."""

    cfg: Config
    run_dir: Path

    def stored(self) -> tuple[MlflowClient, Run]:
        """The store, and the run as it holds it."""
        client, _ = open_experiment(self.cfg.tracking.uri, self.cfg.tracking.experiment)
        run_id = json.loads((self.run_dir / "mlflow.json").read_text())["run_id"]
        return client, client.get_run(run_id)


@pytest.fixture
def run(store: str, tmp_path: Path) -> Tracked:
    cfg = make_config(f"tracking.uri={store}", "tracking.run_name=test")
    save_config(cfg, tmp_path / "run" / "config.yaml")
    return Tracked(cfg, tmp_path / "run")
