"""A tracking server, on the loopback interface, and what its loss costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
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
