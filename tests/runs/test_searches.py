"""Searches by Optuna."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import Command, metrics_of, small, wait_for

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_a_search_killed_halfway_goes_on_with_the_trials_it_has(
    launch: Command, few_digits: Path
) -> None:
    whole, halved = launch.folder / "whole", launch.folder / "halved"
    settings = ("sweep=optuna", *small(few_digits), "hydra.sweeper.n_trials=3")
    assert launch(*settings, "hydra.sweep.dir=whole", timeout_s=300).returncode == 0
    process = launch.start(*settings, "hydra.sweep.dir=halved")
    wait_for(lambda: len(list(halved.glob("*/metrics.json"))) == 1, process)
    process.kill()
    process.wait()
    again = launch(*settings, "hydra.sweep.dir=halved", timeout_s=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count(" is done") == 1
    results = [
        {folder.name: metrics_of(folder)["val/top1"] for folder in place.glob("optimizer*")}
        for place in (whole, halved)
    ]
    assert len(results[0]) == 3 and results[0] == results[1]
    assert (whole / "optimization_results.yaml").read_text() == (
        halved / "optimization_results.yaml"
    ).read_text()


@pytest.mark.long
def test_a_trial_that_diverges_is_a_result_for_the_search(
    launch: Command, few_digits: Path
) -> None:
    settings = (
        "optimizer.name=momentum",
        "optimizer.clip_global_norm_value=null",
        "optimizer.layer_decay=1",
    )
    search = (
        "sweep=optuna",
        "hydra.sweeper.n_trials=2",
        "optimizer.base_lr=choice(1e29,1e30)",
        "hydra.sweep.dir=sweep",
    )
    done = launch(*small(few_digits, *settings), *search)
    assert done.returncode == 0, done.stdout + done.stderr
    failed = [
        json.loads(path.read_text()) for path in (launch.folder / "sweep").glob("*/failed.json")
    ]
    assert failed and {failure["exit_status"] for failure in failed} == {3}
    assert failed[0]["message"].startswith("training has diverged")
    assert "best_value: 0.0" in (launch.folder / "sweep" / "optimization_results.yaml").read_text()
