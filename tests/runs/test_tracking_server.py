"""A tracking server, on the loopback interface, and what its loss costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from settings import ROOT
from whole_runs import Command, TrackingServer, records, run_id, small, wait_for, without_times

pytestmark = pytest.mark.slow


def test_a_tracking_server_that_goes_away_costs_nothing_that_was_logged(
    launch: Command, few_digits: Path
) -> None:
    server, run_dir = TrackingServer(launch.folder), launch.folder / "run"
    with server:
        process = launch.start(
            *small(few_digits, f"tracking.uri={server.uri}", epochs=60), "hydra.run.dir=run"
        )
        wait_for(lambda: records(run_dir) >= 30 and (run_dir / "mlflow.json").exists(), process)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "to send it later: python -m beit_exp.report sync" in out
    logged = [record["step"] for record in without_times(run_dir) if "train/loss" in record]
    assert logged == list(range(1, 301))
    with server:
        for _ in range(2):
            sent = subprocess.run(
                [sys.executable, "-m", "beit_exp.report", "sync", str(run_dir)], check=False
            )
            assert sent.returncode == 0
        client = server.client()
        history = client.get_metric_history(run_id(run_dir), "train/loss")
        assert [metric.step for metric in history] == logged
        assert client.get_run(run_id(run_dir)).info.status == "FINISHED"


@pytest.mark.long
def test_a_password_of_the_store_is_in_the_environment_alone(
    launch: Command, few_digits: Path
) -> None:
    server, run_dir = TrackingServer(launch.folder), launch.folder / "run"
    kept = server.uri.replace("//", "//me:***@")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri.replace("//", "//me:pa55@")}

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=launch.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    command = (str(ROOT / "launch.py"), *small(few_digits), "hydra.run.dir=run")
    with server:
        done = call(*command, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert 'MLFLOW_BACKEND_STORE_URI="$MLFLOW_TRACKING_URI" mlflow ui' in done.stdout
        assert server.client().get_run(run_id(run_dir)).info.status == "FINISHED"
        longer = ("train.epochs=3", "allow_changes=[train.epochs]")
        del environment["MLFLOW_TRACKING_URI"]
        refused = call(*command, *longer, f"tracking.uri={kept}", **environment)
        assert refused.returncode == 2
        assert "set the environment variable MLFLOW_TRACKING_URI" in refused.stdout
        environment["MLFLOW_TRACKING_URI"] = server.uri.replace("//", "//me:pa55@")
        resumed = call("-m", "beit_exp.worker", str(run_dir), **environment)
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        steps = server.client().get_metric_history(run_id(run_dir), "train/loss")
        assert [metric.step for metric in steps] == list(range(1, 16))
    assert f"uri: {kept}" in (run_dir / "config.yaml").read_text()
    shown = "".join(each.stdout + each.stderr for each in (done, refused, resumed))
    assert "pa55" not in shown
    files = [path for path in launch.folder.rglob("*") if path.is_file()]
    assert [path for path in files if b"pa55" in path.read_bytes()] == []
