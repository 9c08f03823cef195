from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from settings import OFFICIAL, compose, make_config
from whole_runs import write_run

from beit_exp.config.mapping import load_config, save_config
from beit_exp.errors import UserError
from beit_exp.launch.run_directory import check_files, last_error, prepare
from beit_exp.storage.lock import locking


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run of four epochs of ten steps that has saved two of them, in a folder hard to quote."""
    run_dir = tmp_path / "a b=(数据)"
    (run_dir / "plots").mkdir(parents=True)
    write_run(run_dir, "train.epochs=4", top1=(50.0, 60.0), is_done=False)
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "step_00000020.safetensors").touch()
    return run_dir


def refused(run_dir: Path, *typed: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        prepare(make_config(*typed), run_dir, typed=typed)
    return str(caught.value).splitlines()


def test_a_refusal_ends_with_the_command_that_changes_all_the_same(begun: Path) -> None:
    typed = ("train.epochs=8", "dataset.data_url='x y'")
    *_, as_it_is, change = refused(begun, *typed)
    assert shlex.split(as_it_is.partition(": ")[2])[2:] == ["beit_exp.worker", str(begun)]
    words = shlex.split(change.partition(": ")[2])[2:]
    assert words[:2] == list(typed)
    pasted = [word for word in words if not word.startswith("hydra.")]
    assert f'hydra.run.dir="{begun}"' in words
    assert not prepare(make_config(*pasted), begun, typed=pasted)
    assert load_config(begun / "config.yaml").train.epochs == 8


def test_settings_allowed_before_are_kept_in_the_command(begun: Path) -> None:
    change = refused(begun, "train.epochs=8", "seed=7", "allow_changes=[seed]")[-1]
    assert shlex.split(change)[-1] == "allow_changes=[seed,train.epochs]"
    assert change.count("allow_changes") == 1


def test_an_allowed_command_can_be_repeated(begun: Path) -> None:
    typed = ("train.epochs=8", "allow_changes=[train.epochs]")
    for _ in range(2):
        assert not prepare(make_config(*typed), begun, typed=typed)
    assert len(load_config(begun / "config.yaml").allow_changes) == 1


@pytest.mark.parametrize(
    ("setting", "rate"),
    [
        ("train.epochs=8", "0.00175"),
        ("optimizer.base_lr=1", "0.52"),
        ("scheduler=constant", "0.002"),
    ],
)
def test_a_changed_schedule_tells_the_learning_rate_at_the_step_reached(
    begun: Path, setting: str, rate: str
) -> None:
    told = f"The learning rate at step 20, where it goes on: 0.00104 before, {rate} now"
    assert told in refused(begun, "train.epochs=4", setting)


def test_what_leaves_the_learning_rate_says_nothing_of_it(begun: Path) -> None:
    assert not any("rate at" in line for line in refused(begun, "train.epochs=4", "seed=7"))


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(begun: Path) -> None:
    (begun / "checkpoints" / "step_00000020.safetensors").unlink()
    (begun / "facts.json").write_text("{}")
    (begun / "mlflow.json").write_text("{}")
    assert not prepare(make_config("train.epochs=8", "seed=7"), begun, typed=())
    assert load_config(begun / "config.yaml").seed == 7
    left = {path.name for path in begun.iterdir()}
    assert not left & {"metrics.jsonl", "facts.json", "mlflow.json"}


def test_a_tokenizer_that_died_early_begins_anew_and_one_that_is_done_is_kept(begun: Path) -> None:
    (begun / "checkpoints" / "step_00000020.safetensors").unlink()
    save_config(make_config(), begun / "tokenizer" / "config.yaml")
    assert not prepare(make_config("seed=7"), begun, typed=())
    assert not (begun / "tokenizer" / "config.yaml").exists()
    (begun / "tokenizer" / "metrics.json").write_text("{}")
    assert refused(begun, "seed=8")[-1].endswith("allow_changes=[seed]'")


def test_a_run_at_work_is_not_taken_for_dead(begun: Path) -> None:
    (begun / "checkpoints" / "step_00000020.safetensors").unlink()
    with locking(begun / "launch.log"):
        (line,) = refused(begun, "seed=7")
    assert line.startswith("another process is at work in")
    assert (begun / "metrics.jsonl").exists()


def test_a_run_of_another_version_is_told_as_such(begun: Path) -> None:
    values = compose("train.epochs=4")
    del values["soup"], values["train"]["recompute"]
    values["model"]["pos_drop"] = 0.1
    (begun / "config.yaml").write_text(json.dumps(values))
    (begun / "facts.json").write_text('{"tags": {"git.commit": "abc123"}}')
    text = "\n".join(refused(begun, "train.epochs=8"))
    assert "was written by another version of this project (commit abc123)" in text
    assert "It lacks soup.kind, train.recompute" in text
    assert "no longer: model.pos_drop" in text and "git checkout abc123" in text


def test_the_last_error_of_a_log_is_what_a_failed_job_says(tmp_path: Path) -> None:
    lines = [
        "12:00 INFO a: x",
        "12:01 ERROR beit_exp.worker: the first",
        "12:02 ERROR beit_exp.worker: key: value",
    ]
    (tmp_path / "launch.log").write_text("\n".join(lines))
    assert last_error(tmp_path) == "key: value"
    assert last_error(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "typed",
    ["model.depth=2", "optimizer=momentum", "train.ema_decay=0.9", "task=evaluate checkpoint=x"],
)
def test_what_makes_another_run_of_it_is_refused_whatever_is_allowed(
    begun: Path, typed: str
) -> None:
    before = (begun / "config.yaml").read_bytes()
    allowed = "allow_changes=[model.depth,optimizer.name,train.ema_decay,task,checkpoint]"
    lines = refused(begun, *typed.split(), allowed)
    assert "of other weights or another task" in lines[0]
    assert lines[-1] == "To begin another: choose another hydra.run.dir"
    assert (begun / "config.yaml").read_bytes() == before


def test_which_batch_the_learning_rate_is_meant_for_may_be_said_later(begun: Path) -> None:
    typed = ("train.epochs=4", "optimizer.lr_base_size=64")
    assert not prepare(make_config(*typed), begun, typed=typed)
    assert load_config(begun / "config.yaml").optimizer.lr_base_size == 64


def test_what_changes_no_tensor_may_be_allowed(begun: Path) -> None:
    changed = ("model.drop_path_rate=0.2", "optimizer.base_lr=1e-4", "scheduler.min_lr=0")
    allowed = "allow_changes=[model.drop_path_rate,optimizer.base_lr,scheduler.min_lr]"
    cfg = make_config(*changed, "train.epochs=4", allowed)
    assert not prepare(cfg, begun, typed=changed)


def test_a_data_set_is_looked_for_unless_the_task_is_pointed_at_images(tmp_path: Path) -> None:
    data = ("dataset=image_folder", f"dataset.data_url={tmp_path / 'none'}")
    typed = ("task=features", f"checkpoint={OFFICIAL}", *data, "dataset.num_classes=2")
    with pytest.raises(UserError, match=r"the folder .*none is missing"):
        check_files(make_config(*typed))
    check_files(make_config(*typed, f"images={tmp_path}"))
