"""Whole runs of BEiT v2's tokenizer: alone, before a pre-training, killed, and on two processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from settings import OFFICIAL, TINY
from whole_runs import (
    Command,
    children,
    metrics_of,
    newest_tensors,
    records,
    same_weights,
    wait_for,
    without_times,
)

pytestmark = pytest.mark.slow
SMALL = (*TINY, "model.patch_size=8", "train.eval_every_epochs=1", "train.save_every_epochs=1")
SHAPE = ("tokenizer.vocabulary=16", "tokenizer.embed_dim=32", "tokenizer.depth=1")


def training(data: Path, *more: str) -> tuple[str, ...]:
    """Of the tokenizer alone."""
    return (
        *("task=train_tokenizer", "objective=val/loss", "augment=pretrain"),
        *("tokenizer=vqkd_small", f"tokenizer.teacher={OFFICIAL}", *SHAPE, *SMALL),
        *(f"dataset.data_url={data}", "train.epochs=3", *more),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, few_digits: Path) -> tuple[Command, Path]:
    """A tokenizer's finished training, and the command in its folder."""
    command = Command(tmp_path_factory.mktemp("distilled"))
    done = command(*training(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    return command, command.folder / "run"


def codebook(run_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    tensors = newest_tensors(run_dir)
    return tensors["model/quantize.codes"], tensors["model/quantize.usage"]


def test_a_tokenizer_learns_its_teacher_and_keeps_its_codes(
    finished: tuple[Command, Path],
) -> None:
    _, run_dir = finished
    found = [record for record in without_times(run_dir) if "val/teacher_distance" in record]
    distances = [record["val/teacher_distance"] for record in found]
    assert len(distances) == 3 and distances[-1] < distances[0] < 1
    last = found[-1]
    total = last["val/teacher_distance"] + last["val/commitment"]
    assert last["val/loss"] == pytest.approx(total, rel=1e-6)
    assert {"val/token_usage", "val/token_perplexity"} <= metrics_of(run_dir).keys()
    codes, usage = codebook(run_dir)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-5)
    assert codes.shape == (16, 8) and usage.sum() > 1
    tensors = newest_tensors(run_dir)
    assert not any("teacher" in name for name in tensors)
    assert not any("quantize" in name for name in tensors if name.startswith("optimizer/"))
    assert (run_dir / "plots" / "tokens.png").exists()


def test_a_killed_training_resumes_to_the_same_weights_codes_and_usages(
    launch: Command, few_digits: Path, finished: tuple[Command, Path]
) -> None:
    whole, run_dir = finished[1], launch.folder / "run"
    process = launch.start(*training(few_digits), "hydra.run.dir=run")
    wait_for(lambda: any(run_dir.glob("checkpoints/step_*")) and records(run_dir) >= 6, process)
    for pid in [process.pid, *children(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not (run_dir / "metrics.json").exists()
    done = launch(*training(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming at step" in (run_dir / "launch.log").read_text()
    assert without_times(run_dir) == without_times(whole)
    assert same_weights(run_dir, whole)
    for mine, theirs in zip(codebook(run_dir), codebook(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_two_processes_train_it_as_one_from_the_same_codes_on(
    finished: tuple[Command, Path], few_digits: Path
) -> None:
    command, run_dir = finished
    halves = ("train.batch_size=8", "hardware.device_num=2")
    done = command(*training(few_digits, *halves), "hydra.run.dir=two")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("train/loss", "train/commitment", "val/loss", "val/token_usage"):
        one, two = (
            [record[name] for record in without_times(folder) if name in record]
            for folder in (run_dir, command.folder / "two")
        )
        assert len(one) >= 3
        np.testing.assert_allclose(two, one, rtol=1e-3, err_msg=name)
    codes, usage = codebook(command.folder / "two")
    np.testing.assert_allclose(codes, codebook(run_dir)[0], atol=1e-3)
    np.testing.assert_allclose(usage, codebook(run_dir)[1], atol=0.05)


def test_a_pretraining_takes_the_tokens_of_a_tokenizer_that_it_trains_first(
    launch: Command, few_digits: Path
) -> None:
    words = ("experiment=pretrain_digits_v2", f"tokenizer.teacher={OFFICIAL}", *SHAPE, *SMALL)
    more = (
        *(f"dataset.data_url={few_digits}", "mask.early_block=1", "train.epochs=2"),
        *("tokenizer.training.train.epochs=2", "probe.every_epochs=2"),
    )
    done = launch(*words, *more, "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    run_dir = launch.folder / "run"
    assert metrics_of(run_dir / "tokenizer").keys() >= {"val/teacher_distance", "val/token_usage"}
    measured = {"val/cls_masked_accuracy", "val/masked_accuracy", "val/knn_top1"}
    assert metrics_of(run_dir).keys() >= measured
    assert (run_dir / "plots" / "masked.png").exists()
    again = launch(
        *words, *more, f"tokenizer.weights={run_dir / 'tokenizer'}", "hydra.run.dir=again"
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert same_weights(run_dir, launch.folder / "again")
