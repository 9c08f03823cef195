"""Whole pre-trainings: the tokenizer's run, the encoder's, and fine-tuning from it; kills, and two
processes.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from settings import TINY
from whole_runs import (
    Command,
    children,
    metrics_of,
    newest_tensors,
    records,
    run_id,
    same_weights,
    wait_for,
    without_times,
)

pytestmark = pytest.mark.slow
MODEL = ("model.patch_size=8", "model.rel_pos_bias=false", "model.shared_rel_pos_bias=true")
SMALL = (*TINY, "model.patch_size=8", "train.eval_every_epochs=1", "train.save_every_epochs=1")


def pretraining(data: Path, *more: str) -> tuple[str, ...]:
    return (
        "experiment=pretrain_digits",
        *SMALL,
        f"dataset.data_url={data}",
        "model.drop_path_rate=0.2",
        "mask.num_mask_patches=7",
        "mask.min_mask_patches_per_block=2",
        "tokenizer.vocabulary=16",
        "tokenizer.hidden=8",
        "tokenizer.decoder_input=8",
        "tokenizer.training.train.epochs=3",
        "train.epochs=4",
        "probe.every_epochs=2",
        *more,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> tuple[Command, Path]:
    """A finished pre-training, and the command in its folder."""
    command = Command(tmp_path_factory.mktemp("pretrained"))
    done = command(*pretraining(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    return command, command.folder / "run"


def test_a_pretraining_leaves_two_runs_with_their_pictures(finished: tuple[Command, Path]) -> None:
    command, run_dir = finished
    pictures = {str(path.relative_to(run_dir)) for path in run_dir.rglob("plots/*.png")}
    assert (run_dir / "report" / "report.html").exists()
    assert pictures == {
        "plots/curves.png",
        "plots/masked.png",
        "plots/schedule.png",
        "plots/tokens.png",
        "tokenizer/plots/curves.png",
        "tokenizer/plots/reconstruction.png",
        "tokenizer/plots/schedule.png",
        "tokenizer/plots/tokens.png",
    }
    assert metrics_of(run_dir).keys() >= {"val/loss", "val/masked_accuracy", "best/val/loss"}
    measured = [record["epoch"] for record in without_times(run_dir) if "val/knn_top1" in record]
    assert measured == [2, 4]
    assert metrics_of(run_dir / "tokenizer").keys() >= {
        "val/loss",
        "val/reconstruction_mse",
        "val/token_usage",
    }
    assert all(
        "train/masked_accuracy" in record
        for record in without_times(run_dir)
        if "train/loss" in record
    )
    runs = {run.info.run_id: run for run in command.runs()}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    names = [runs[run_id(folder)].info.run_name for folder in (run_dir, run_dir / "tokenizer")]
    assert names[0].startswith("pretrain_digits ") and names[0].endswith(" run")
    assert names[1] == "tokenizer run"
    artifacts = command.client().list_artifacts(run_id(run_dir), "plots")
    assert "plots/masked.png" in {artifact.path for artifact in artifacts}


def test_fine_tuning_takes_over_every_block_and_the_shared_table(
    finished: tuple[Command, Path], few_digits
) -> None:
    command, run_dir = finished
    own_tables = "model.shared_rel_pos_bias=false", "model.rel_pos_bias=true"
    probing = (
        f"model.pretrained={run_dir}",
        "train.freeze=backbone",
        f"dataset.data_url={few_digits}",
    )
    done = command(*SMALL, *own_tables, *probing, "train.epochs=2", "hydra.run.dir=probed")
    assert done.returncode == 0, done.stdout + done.stderr
    old, new = newest_tensors(run_dir), newest_tensors(command.folder / "probed")
    for name in ("blocks.1.mlp.fc2.weight", "patch_embed.proj.weight", "cls_token", "pos_embed"):
        np.testing.assert_array_equal(new[f"model/{name}"], old[f"model/{name}"])
    for block in range(2):
        table = new[f"model/blocks.{block}.rel_pos.relative_position_bias_table"]
        np.testing.assert_array_equal(table, old["model/rel_pos_bias.relative_position_bias_table"])
    assert {name for name in new if name.startswith("optimizer/")} == {
        f"optimizer/{moment}/head.{part}"
        for moment in ("moment1", "moment2")
        for part in ("weight", "bias")
    }
    assert new["model/head.bias"].any()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("while the tokenizer trains", marks=pytest.mark.long),
        "while the encoder trains",
    ],
)
def test_a_killed_pretraining_resumes_to_the_same_end(
    moment: str, launch: Command, few_digits: Path, finished: tuple[Command, Path]
) -> None:
    whole, run_dir = finished[1], launch.folder / "run"
    watched, count = (
        (run_dir / "tokenizer", 9) if moment == "while the tokenizer trains" else (run_dir, 9)
    )
    process = launch.start(*pretraining(few_digits), "hydra.run.dir=run")
    wait_for(lambda: records(watched) >= count, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not (run_dir / "metrics.json").exists()
    done = launch(*pretraining(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    for mine, theirs in ((run_dir, whole), (run_dir / "tokenizer", whole / "tokenizer")):
        assert without_times(mine) == without_times(theirs)
        assert metrics_of(mine) == metrics_of(theirs)
        assert same_weights(mine, theirs)


def test_a_signal_during_the_tokenizers_run_saves_it(launch: Command, few_digits: Path) -> None:
    folder = launch.folder / "run" / "tokenizer"
    process = launch.start(
        *pretraining(few_digits, "tokenizer.training.train.epochs=200"), "hydra.run.dir=run"
    )
    wait_for(lambda: records(folder) >= 8, process)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    last = without_times(folder)[-1]["step"]
    assert (
        int(sorted((folder / "checkpoints").glob("step_*"))[-1].stem.removeprefix("step_")) == last
    )
    assert not (launch.folder / "run" / "metrics.jsonl").exists()


@pytest.mark.long
def test_two_processes_pretrain_as_one(finished: tuple[Command, Path], few_digits: Path) -> None:
    command, run_dir = finished
    two = (
        "train.batch_size=8",
        "hardware.device_num=2",
        f"tokenizer.weights={run_dir / 'tokenizer'}",
    )
    # As many hidden patches on each process: means are alike
    exact = ("mask.exact=true", "train.epochs=2", "probe.every_epochs=1")
    one = (*exact, f"tokenizer.weights={run_dir / 'tokenizer'}")
    losses, tops = [], []
    for name, settings in (("one", one), ("two", (*exact, *two))):
        done = command(*pretraining(few_digits, *settings), f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stdout + done.stderr
        found = without_times(command.folder / name)
        losses.append([record["train/loss"] for record in found if "train/loss" in record])
        losses[-1] += [record["val/loss"] for record in found if "val/loss" in record]
        tops.append([record["val/knn_top1"] for record in found if "val/knn_top1" in record])
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-5)
    assert len(tops[0]) == 2
    np.testing.assert_allclose(tops[1], tops[0], atol=2.0)  # one of 50 images


@pytest.mark.long
def test_a_class_token_head_is_pretrained_and_fine_tuning_leaves_it_aside(
    finished: tuple[Command, Path], few_digits: Path
) -> None:
    command, run_dir = finished
    head = ("mask.early_block=1", "mask.head_blocks=2", "mask.shared_lm_head=false")
    more = (*head, "train.epochs=2", f"tokenizer.weights={run_dir / 'tokenizer'}")
    done = command(*pretraining(few_digits, *more), "hydra.run.dir=with_head")
    assert done.returncode == 0, done.stdout + done.stderr
    found = metrics_of(command.folder / "with_head")
    assert 0 < found["val/cls_masked_accuracy"] <= 100 and 0 < found["val/masked_accuracy"] <= 100
    assert "model/cls_pt_layers.1.mlp.fc2.weight" in newest_tensors(command.folder / "with_head")
    words = (*SMALL, "dataset=image_folder", "dataset.num_classes=10", "train.epochs=2")
    weights = ("model.pretrained=with_head", f"dataset.data_url={few_digits}")
    done = command(*words, *weights, "hydra.run.dir=tuned")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any("cls_pt_" in name for name in newest_tensors(command.folder / "tuned"))
