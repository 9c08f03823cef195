from __future__ import annotations

from pathlib import Path

import pytest
from kept_weights import write_training
from settings import compose, pretraining

from beit_exp.config.mapping import build_config, save_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.launch.run_directory import check_files
from beit_exp.launch.saved_settings import lay_over_run


def laid(*typed: str) -> Config:
    return build_config(lay_over_run(compose(*typed), list(typed)))


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    write_training(tmp_path / "a", "model.depth=3", "objective=val/loss", top1=90.0)
    write_training(tmp_path / "b", "model.depth=5", "objective=val/loss", top1=95.0, length=4)
    return tmp_path


def test_a_soup_has_the_settings_of_the_sweeps_best_job(sweep_dir: Path) -> None:
    cfg = laid("task=soup", f"checkpoint={sweep_dir}", "soup.kind=uniform")
    assert (cfg.task, cfg.checkpoint, cfg.soup.kind) == ("soup", str(sweep_dir), "uniform")
    assert (cfg.model.depth, cfg.objective) == (5, "val/loss")
    assert laid("task=soup", f"checkpoint={sweep_dir}", "model.depth=2").model.depth == 2
    assert laid("task=soup", f"checkpoint={sweep_dir / 'a'}").model.depth == 3


def test_no_other_task_takes_a_sweeps(sweep_dir: Path) -> None:
    assert laid("task=evaluate", f"checkpoint={sweep_dir}").model.depth not in (3, 5)


def test_what_cannot_be_averaged_is_refused_before_a_worker_starts(sweep_dir: Path) -> None:
    with pytest.raises(UserError, match=r"/b/.* cannot be averaged with .*/a/.*: 1 tensors differ"):
        check_files(laid("task=soup", f"checkpoint={sweep_dir}"))


@pytest.mark.parametrize("task", ["features", "probe"])
def test_a_network_whose_class_token_predicted_is_judged(task: str, tmp_path: Path) -> None:
    head = ("mask.early_block=1", "mask.head_blocks=2", "mask.shared_lm_head=false")
    save_config(pretraining(tmp_path / "data", *head), tmp_path / "config.yaml")
    cfg = laid(f"task={task}", f"checkpoint={tmp_path}")
    assert (cfg.task, cfg.mask.early_block) == (task, 1)
