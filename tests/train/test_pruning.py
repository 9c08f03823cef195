from __future__ import annotations

import json
from pathlib import Path

import pytest
from settings import make_config
from whole_runs import write_run

from beit_exp.errors import MissingExtraError, UserError
from beit_exp.tracking.records import SWEEP_FILE
from beit_exp.train import pruning
from beit_exp.train.pruning import PRUNED_TAG, STARTUP, check_pruning, is_hopeless


def job(sweep: Path, name: str, *top1: float, is_done: bool = True) -> Path:
    folder = sweep / name
    (folder / "plots").mkdir(parents=True)
    write_run(folder, top1=top1, is_done=is_done)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """As many finished jobs as it takes, with 50, 60, 70 and 80 % after two epochs."""
    (tmp_path / SWEEP_FILE).write_text(json.dumps({"swept": ["x"]}))
    for number in range(STARTUP):
        job(tmp_path, f"x={number}", 30.0, 50.0 + 10 * number, 90.0)
    return tmp_path


@pytest.mark.parametrize(
    ("top1", "hopeless"),
    [
        ((20.0, 64.0), True),
        ((20.0, 66.0), False),
        ((66.0, 20.0), False),
        ((20.0, 64.0, 95.0), False),
    ],
)
def test_a_job_is_judged_by_its_best_at_the_epoch_reached(
    sweep: Path, top1: tuple[float, ...], hopeless: bool
) -> None:
    own = job(sweep, "own", *top1, is_done=False)
    assert is_hopeless(own, objective="val/top1", after=1) is hopeless


def test_of_a_loss_less_is_better(sweep: Path) -> None:
    assert is_hopeless(job(sweep, "own", 20.0, 64.0), objective="val/loss", after=1)
    assert not is_hopeless(job(sweep, "other", 20.0, 66.0), objective="val/loss", after=1)


def test_nobody_is_judged_too_early_or_by_too_few(sweep: Path) -> None:
    own = job(sweep, "own", 1.0, 1.0, is_done=False)
    assert not is_hopeless(own, objective="val/top1", after=3)
    (sweep / "x=0" / "metrics.json").unlink()
    assert not is_hopeless(own, objective="val/top1", after=1)


def test_jobs_that_were_ended_early_are_no_measure(sweep: Path) -> None:
    own = job(sweep, "own", 20.0, 64.0, is_done=False)
    for number in range(6):
        pruned = job(sweep, f"pruned {number}", 1.0, 1.0)
        (pruned / "facts.json").write_text(json.dumps({"tags": {PRUNED_TAG: "true"}}))
    assert is_hopeless(own, objective="val/top1", after=1)


def test_what_follows_a_training_is_no_job(sweep: Path, tmp_path: Path) -> None:
    cfg = make_config("train.prune_after=5", "task=evaluate", "checkpoint=x")
    check_pruning(cfg, tmp_path / "elsewhere" / "run")


def test_a_run_that_is_no_job_of_a_sweep_is_refused(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config("train.prune_after=5")
    check_pruning(cfg, sweep / "own")
    alone = tmp_path_factory.mktemp("alone") / "run"
    check_pruning(make_config(), alone)
    with pytest.raises(UserError, match="train.prune_after = 5: must be null but in a sweep"):
        check_pruning(cfg, alone)
    monkeypatch.setattr(pruning, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"beit-exp\[optuna\]"):
        check_pruning(cfg, sweep / "own")
