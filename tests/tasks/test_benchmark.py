from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bare_kernels import COMPILED
from settings import TINY, make_config
from whole_runs import Command

from beit_exp.hardware.cores import own_cores
from beit_exp.model.cost import forward_flops
from beit_exp.tracking.records import read_records


def check_shares(report: dict[str, Any], step_s: float) -> None:
    """What is computed of the step's time, and told of the machine."""
    metrics = report["metrics"]
    flops = 3 * forward_flops(make_config(*TINY).model, num_classes=10) * 16 / step_s
    assert metrics["benchmark/step_gflops_per_s"] == pytest.approx(flops / 1e9)
    peak = metrics["benchmark/product_peak_gflops_per_s"]
    assert metrics["benchmark/step_percent_of_peak"] == pytest.approx(100 * flops / 1e9 / peak)
    assert 0 <= metrics["benchmark/data_wait_percent"] <= 100
    assert metrics["benchmark/compile_s"] > 0 < metrics["benchmark/peak_memory_gb"]
    assert metrics["benchmark/start_to_first_step_s"] > metrics["benchmark/compile_s"]
    low, high = report["quartiles"]["benchmark/step_s"]
    assert low <= step_s <= high and report["is_quiet"] in (True, False)
    assert metrics["benchmark/other_load_cores"] >= 0


@pytest.mark.slow
def test_a_benchmark_measures_every_part_and_tells_the_store(
    few_digits: Path, launch: Command
) -> None:
    settings = (
        "dataset=image_folder",
        f"dataset.data_url={few_digits}",
        "dataset.num_classes=10",
        "hydra.run.dir=run",
    )
    done = launch(
        *TINY,
        *settings,
        "task=benchmark",
        "train.epochs=4",
        "benchmark.repeats=3",
        "benchmark.warm_up=1",
    )
    assert done.returncode == 0, done.stderr
    run = launch.folder / "run"
    report = json.loads((run / "benchmark.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    assert report["metrics"] == metrics
    assert {name: len(found) for name, found in report["seconds"].items()} == {
        "step": 3,
        "update": 3,
        **({"update_memory": 3} if COMPILED.exists() else {}),
        "training": 3,
        "training_wait": 3,
        "inference": 3,
        "train_data": 3,
        **({"train_data_one_thread": 3} if len(own_cores()) > 1 else {}),
        "eval_data": 3,
    }
    step_s = statistics.median(report["seconds"]["step"])
    assert metrics["benchmark/step_s"] == step_s
    assert metrics["benchmark/step_images_per_s"] == pytest.approx(16 / step_s)
    eval_s = statistics.median(report["seconds"]["eval_data"])
    assert metrics["benchmark/eval_data_images_per_s"] == pytest.approx(50 / eval_s)
    all_s = statistics.median(report["seconds"]["train_data"])
    threads = min(16, len(own_cores()))
    read = 16 * threads * -(-16 // threads)  # images in as many batches for each thread
    assert metrics["benchmark/train_data_images_per_s"] == pytest.approx(read / all_s)
    if threads > 1:
        one_s = statistics.median(report["seconds"]["train_data_one_thread"])
        assert metrics["benchmark/train_data_thread_percent"] == pytest.approx(100 * one_s / all_s)
    check_shares(report, step_s)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "part": "step",
        "images_per_s": metrics["benchmark/step_images_per_s"],
    }
    (record,) = read_records(run / "metrics.jsonl")
    assert np.isclose(record["benchmark/step_s"], step_s)
    assert "benchmark/step_s" in done.stdout


@pytest.mark.slow
def test_a_benchmark_of_more_steps_than_the_run_has_is_refused(
    few_digits: Path, work: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    settings = ("dataset=image_folder", f"dataset.data_url={few_digits}", "dataset.num_classes=10")
    many = ("task=benchmark", "train.epochs=2", "benchmark.repeats=100")
    work(*TINY, *settings, *many, status=2)
    assert (
        "benchmark.repeats = 100: 206 training steps are taken, but train.epochs = 2" in caplog.text
    )


@pytest.mark.slow
def test_a_benchmark_is_compared_with_another_command_in_turn(
    few_digits: Path, launch: Command
) -> None:
    settings = (
        "dataset=image_folder",
        f"dataset.data_url={few_digits}",
        "dataset.num_classes=10",
        "hydra.run.dir=run",
        "benchmark.parts=[inference]",
        "benchmark.repeats=2",
        "benchmark.rounds=3",
    )
    other = launch.folder / "other.py"
    other.write_text(
        "from pathlib import Path\n"
        "with open('calls', 'a') as file:\n    file.write('x')\n"
        "print('{\"images_per_s\": %d}' % (2 * len(Path('calls').read_text())))\n"
    )
    against = f"benchmark.against='{sys.executable} {other}'"
    done = launch(*TINY, *settings, "task=benchmark", "train.epochs=6", against)
    assert done.returncode == 0, done.stderr
    report = json.loads((launch.folder / "run" / "benchmark.json").read_text())
    assert [pair["theirs"] for pair in report["pairs"]] == [2, 4, 6]
    ratios = [pair["ours"] / pair["theirs"] for pair in report["pairs"]]
    assert report["metrics"]["benchmark/against_ratio"] == pytest.approx(statistics.median(ratios))
    assert report["metrics"]["benchmark/against_ratio_largest"] == pytest.approx(max(ratios))
    assert "pair 3 " in done.stdout
