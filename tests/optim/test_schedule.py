from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import agree
from settings import GOLDEN, make_config

from beit_exp.errors import UserError
from beit_exp.optim.schedule import build_schedule, build_weight_decays


def schedule_of(
    *overrides: str, epochs: int = 10, steps_per_epoch: int = 5, peak_lr: float = 1.0
) -> np.ndarray:
    cfg = make_config(f"train.epochs={epochs}", "optimizer.base_lr=1", *overrides)
    return build_schedule(
        cfg.scheduler, peak_lr=peak_lr, epochs=epochs, steps_per_epoch=steps_per_epoch
    )


@pytest.mark.parametrize("name", ["seed_recipe", "short"])
def test_cosine_is_the_official_table(name: str) -> None:
    golden = json.loads((GOLDEN / "cosine_lr.json").read_text())[name]
    table = schedule_of(
        f"scheduler.warmup_length={golden['warmup_epochs']}",
        f"scheduler.min_lr={golden['min_lr']}",
        epochs=golden["epochs"],
        steps_per_epoch=golden["steps_per_epoch"],
        peak_lr=golden["base_lr"],
    )
    agree("cosine table", table[golden["steps"]], golden["lr"], within=1e-12)


def test_warmup_starts_at_its_own_rate_and_ends_at_the_peak() -> None:
    table = schedule_of("scheduler.warmup_length=2", "scheduler.warmup_lr=1e-4")
    assert (table[0], table[9], table[10]) == (1e-4, 1.0, 1.0)


def test_constant_stays_at_the_peak() -> None:
    assert (schedule_of("scheduler=constant", "scheduler.warmup_length=0") == 1.0).all()


def test_exponential_decays_by_its_rate_per_period() -> None:
    table = schedule_of(
        "scheduler=exponential", "scheduler.warmup_length=0", "scheduler.decay_epochs=2"
    )
    np.testing.assert_allclose(table[[0, 10, 20]], [1, 0.1, 0.01])


def test_multistep_decays_at_its_milestones() -> None:
    table = schedule_of(
        "scheduler=multistep", "scheduler.milestones=[4,8]", "scheduler.warmup_length=1"
    )
    np.testing.assert_allclose(table[[19, 20, 39, 40]], [1, 0.1, 0.1, 0.01])


def test_decay_does_not_go_below_the_least_rate() -> None:
    table = schedule_of(
        "scheduler=multistep", "scheduler.milestones=[4,8]", "scheduler.min_lr=0.05"
    )
    assert table[-1] == 0.05


def test_cooldown_is_the_last_epochs_of_the_run() -> None:
    table = schedule_of("scheduler.cooldown_epochs=3", "scheduler.min_lr=0.01")
    assert len(table) == 50
    assert (table[-15:] == 0.01).all()
    assert table[-16] > 0.01


def test_warm_up_in_steps_is_that_of_as_many_epochs() -> None:
    steps = make_config("scheduler.warmup_length=0", "scheduler.warmup_steps=14").scheduler
    epochs = make_config("scheduler.warmup_length=2").scheduler
    found, expected = (
        build_schedule(cfg, peak_lr=1.0, epochs=6, steps_per_epoch=7) for cfg in (steps, epochs)
    )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        UserError, match="scheduler.warmup_steps = 14: must be less than the 14 steps"
    ):
        build_schedule(steps, peak_lr=1.0, epochs=2, steps_per_epoch=7)


WEIGHT_DECAYS = json.loads((GOLDEN / "cosine_weight_decay.json").read_text())


@pytest.mark.parametrize("row", WEIGHT_DECAYS.values(), ids=WEIGHT_DECAYS)
def test_weight_decay_with_an_end_is_the_official_table(row: dict) -> None:
    names = ("weight_decay", "weight_decay_end")
    cfg = make_config(*(f"optimizer.{name}={row[name]}" for name in names))
    found = build_weight_decays(cfg.optimizer, total_steps=row["epochs"] * row["steps_per_epoch"])
    agree("weight decay table", found, row["values"], within=1e-12)


def test_weight_decay_without_an_end_is_constant_to_the_bit() -> None:
    """run_class_finetuning.py: weight_decay_end is weight_decay where it is None."""
    cfg = make_config("optimizer.weight_decay=0.05")
    assert build_weight_decays(cfg.optimizer, total_steps=7).tolist() == [0.05] * 7
