"""`python -m beit_exp.doctor --self-check`, as it is typed and with faults in what it checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from settings import ROOT
from whole_runs import needs_simulation

from beit_exp.config.mapping import save_config
from beit_exp.dry_run.simulation import rank_environment, simulation_environment
from beit_exp.self_check import run

pytestmark = pytest.mark.slow
LONG = pytest.mark.long

MEMBER = """
import os
import sys
from pathlib import Path

from beit_exp import worker
from beit_exp.dry_run.simulation import CARD_KIND
from beit_exp.hardware import card, cluster
from beit_exp.self_check import layer_norm, member
from beit_exp.train import cells, step

{fault}
member.command = lambda folder: [sys.executable, __file__, str(folder)]
if __name__ == "__main__":
    worker.leave(member.main(Path(sys.argv[1])))
"""

EPS = """
from beit_exp.model.operations import gradients, onednn_kernels
onednn_kernels.is_available = lambda: False
build = layer_norm.Operations
def without_eps(precision):
    operations = build(precision)
    gradients.LAYER_NORM_EPS = 0.0
    return operations
layer_norm.Operations = without_eps
"""

UNSEEN = """
read = cells.GradientCell.read
def saturated(cell, told):
    found = read(cell, told)
    return found if found.norm < 65504 else found._replace(norm=65504.0)
cells.GradientCell.read = saturated
"""

DRIFT = """
take = step.Trainer.__call__
def drifting(trainer, batches):
    result = take(trainer, batches)
    weight = trainer.gradients.weights[0]
    if cluster.own_rank() == 1 and result.finite:
        weight.set_data(weight * (1 + 1e-6))
    return result
step.Trainer.__call__ = drifting
"""

SIMULATED = """
card.soc_version = lambda: os.environ[CARD_KIND]
"""


def test_a_sound_machine_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "beit_exp.doctor", "--self-check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    found = json.loads((tmp_path / run.FILE).read_text())
    assert done.returncode == 0, done.stdout + done.stderr + json.dumps(found["logs"], indent=1)
    lines = found["lines"]
    verdicts = {line["name"]: line["passed"] for line in lines}
    assert verdicts.pop("time of a step") is None
    assert len(verdicts) == 6 and all(verdicts.values())


def write_member(folder: Path, fault: str) -> list[str]:
    script = folder / "member.py"
    script.write_text(MEMBER.format(fault=fault))
    return [sys.executable, str(script)]


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        # The network is made of that layer
        pytest.param(
            EPS, ["layer norm and its gradient", "logits and gradients at O0"], id="eps", marks=LONG
        ),
        pytest.param(UNSEEN, ["an overflow"], id="overflow", marks=LONG),
        pytest.param(DRIFT, ["ranks"], id="rank", marks=LONG),
    ],
)
def test_a_fault_fails_in_its_line(
    fault: str, failed: list[str], monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(run, "MEMBER", write_member(tmp_path, fault))
    lines = run.check_device(run.settings([], cards=0), tmp_path)
    assert [line.name for line in lines if line.passed is False] == failed, lines
    assert len(lines) == 6


@needs_simulation
@pytest.mark.parametrize("card", [pytest.param(card, marks=LONG) for card in ("910A", "910B")])
def test_all_of_it_compiles_for_a_card(card: str, tmp_path: Path, monkeypatch) -> None:
    """The simulated device answers zeros, so that every check must fail, and none may raise."""
    monkeypatch.setenv("BEIT_EXP_CACHE", str(tmp_path / "cache"))
    words = ["hardware=ascend", "hardware.device_num=8", "model.depth=2"]
    cfg = run.settings(words, cards=8)
    save_config(cfg, tmp_path / run.CONFIG)
    environment = simulation_environment(None, card=card) | rank_environment(cfg.hardware)
    command = [*write_member(tmp_path, SIMULATED), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told = json.loads((tmp_path / "rank_0.json").read_text())
    assert told["raised"] is None, done.stdout
    assert [line["passed"] for line in told["lines"]] == [False] * 5 + [None]
