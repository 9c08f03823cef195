from __future__ import annotations

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from settings import make_config

from beit_exp.hardware.device import Runtime
from beit_exp.model.operations import choice
from beit_exp.model.precision import Precision, build_precision
from beit_exp.self_check import training
from beit_exp.self_check.golden import load_reference
from beit_exp.self_check.line import Outcome
from beit_exp.train import cells, step

pytestmark = pytest.mark.usefixtures("compiled")
ALONE = Runtime("CPU", half=ms.float32, rank=0, size=1)
FLOAT32 = build_precision("O0", half=ms.float32)


CFG = make_config("hardware=cpu")


def check_overflow(precision: Precision = FLOAT32) -> Outcome:
    return training.check_overflow(load_reference(), CFG, ALONE, precision)


def check_ranks(runtime: Runtime = ALONE) -> Outcome:
    return training.check_ranks(load_reference(), CFG, runtime, FLOAT32, operands="float32")


@pytest.mark.slow
def test_an_overflow_passes() -> None:
    outcome = check_overflow()
    assert outcome.passed and "3.0e+38" in outcome.seen, outcome.seen


@pytest.mark.slow
def test_one_of_float16_alone_passes_too(monkeypatch) -> None:
    monkeypatch.setattr(choice, "is_cpu", lambda: False)  # the operators that a card computes with
    outcome = check_overflow(build_precision("O1", half=ms.float16))
    assert outcome.passed and "1.1e+09" in outcome.seen, outcome.seen


@pytest.mark.slow
def test_an_overflow_that_nobody_sees_fails(monkeypatch) -> None:
    read = cells.GradientCell.read

    def saturated(cell: cells.GradientCell, told) -> cells.Told:
        found = read(cell, told)
        return found._replace(norm=float(np.nan_to_num(found.norm, posinf=65504.0)))

    monkeypatch.setattr(step, "native_library", lambda: None)  # the norm is a graph's, as on a card
    monkeypatch.setattr(cells.GradientCell, "read", saturated)
    outcome = check_overflow()
    assert outcome.passed is False and "was not skipped" in outcome.seen


@pytest.mark.slow
def test_a_skipped_step_that_changes_weights_fails(monkeypatch) -> None:
    take = step.Trainer.__call__

    def careless(trainer: step.Trainer, batches):
        weight = trainer.gradients.weights[0]
        weight.set_data(weight + 1)
        return take(trainer, batches)

    monkeypatch.setattr(step.Trainer, "__call__", careless)
    assert "changed weights" in check_overflow().seen


def test_one_process_has_no_rank_to_compare() -> None:
    assert check_ranks().passed is None


@pytest.mark.slow
def test_a_rank_that_tells_other_numbers_is_named(monkeypatch) -> None:
    build = training.build_small_trainer
    monkeypatch.setattr(
        training,
        "build_small_trainer",
        lambda *given, ranks: build(*given, ranks=1),  # no other process to sum with
    )
    monkeypatch.setattr(Runtime, "gather", lambda _, values: np.stack([values, values + 1]))
    seen = check_ranks(replace(ALONE, size=2)).seen
    assert "rank 1 has other gradient norms than rank 0; rank 1 holds other weights" in seen
