from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import Parameter, Tensor
from networks import build
from settings import OFFICIAL

from beit_exp.errors import UserError
from beit_exp.train.checkpoint import CheckpointFolder
from beit_exp.weights.load import load_trained
from beit_exp.weights.source import find_source

SMALL = ("model.embed_dim=32", "model.depth=1", "model.num_heads=2")


def named(values: float, prefix: str) -> dict[str, Parameter]:
    """A small network's parameters, all of one value, as a checkpoint holds them."""
    return {
        f"{prefix}/{parameter.name}": Parameter(Tensor(np.full(parameter.shape, values, "f")))
        for parameter in build(*SMALL).get_parameters()
    }


@pytest.fixture(params=[0.9, None], ids=["averaged", "plain"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run whose weights are 1 at step 10, its best, and 2 at step 20; their average is 3."""
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step, value in ((10, 1.0), (20, 2.0)):
        tensors = named(value, "model") | (named(3.0, "ema") if request.param else {})
        best = {"val/top1": 90.0, "step": 10, "epoch": 1.0}
        state = {
            "trainer": {"step": step},
            "progress": {"best": best},
            "config": {"objective": "best/val/top1", "train": {"ema_decay": request.param}},
        }
        folder.save(tensors, state, step=step, is_best=step == 10)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("best", 1.0, "step 10, the best by val/top1 (90.0000)"),
        ("last", 2.0, "step 20"),
        ("ema", 3.0, "averaged up to step 20"),
    ],
)
@pytest.mark.parametrize("run_dir", [0.9], indirect=True)
def test_a_run_directory_means_the_weights_of_a_kind(
    run_dir: Path, kind: str, value: float, why: str
) -> None:
    network = build(*SMALL)
    load_trained(network, str(run_dir), kind=kind)
    assert {float(parameter.asnumpy().max()) for parameter in network.get_parameters()} == {value}
    assert find_source(str(run_dir), kind).why == why


@pytest.mark.parametrize("run_dir", [None], indirect=True)
def test_averages_that_were_not_kept_are_refused(run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint_kind = 'ema': .* without averaged weights"):
        find_source(str(run_dir), "ema")


@pytest.mark.parametrize("run_dir", [None], indirect=True)
def test_a_run_that_evaluated_nothing_has_no_best(run_dir: Path) -> None:
    (run_dir / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(UserError, match=r"no best weights.* checkpoint_kind=last takes .*00000020"):
        find_source(str(run_dir), "best")


def test_a_foreign_file_is_what_it_is() -> None:
    assert find_source(str(OFFICIAL), "best") == find_source(str(OFFICIAL), "last")
    with pytest.raises(UserError, match=r"checkpoint_kind = 'ema': .* is no checkpoint of a run"):
        find_source(str(OFFICIAL), "ema")


@pytest.mark.parametrize("kind", ["best", "last"])
def test_a_folder_without_checkpoints_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        find_source(str(tmp_path), kind)
