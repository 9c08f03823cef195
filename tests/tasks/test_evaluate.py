from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from settings import TINY, make_config
from whole_runs import Command, best_of, metrics_of

from beit_exp.hardware.device import Runtime
from beit_exp.report.multi_label import load_outcomes
from beit_exp.report.outcomes import Outcomes
from beit_exp.tasks import evaluate
from beit_exp.tracking.tracker import open_tracker


@pytest.mark.slow
def test_evaluation_gives_the_runs_best_accuracy_exactly(finished: tuple[Command, Path]) -> None:
    command, run_dir = finished
    done = command("task=evaluate", f"checkpoint={run_dir}", "hydra.run.dir=evaluated")
    found, expected = metrics_of(command.folder / "evaluated"), best_of(run_dir)
    assert {name: found[name] for name in expected} == expected
    assert str(expected["val/top1"]) in done.stdout


@pytest.mark.slow
def test_a_flat_validation_folder_with_labels_is_evaluated_as_class_folders_are(
    finished: tuple[Command, Path], work: Callable[..., Path], few_digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "val").mkdir()
    lines = []
    for path in sorted((few_digits / "val").rglob("*.png")):
        (tmp_path / "val" / path.name).write_bytes(path.read_bytes())
        lines.append(f"{path.name} {path.parent.name}\n")
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(sorted(lines)))
    flat = (
        "dataset.name=image_folder",
        f"dataset.data_url={tmp_path}",
        f"dataset.val_labels={labels}",
    )
    run_dir = work("task=evaluate", f"checkpoint={finished[1]}", *flat)
    found, expected = metrics_of(run_dir), best_of(finished[1])
    assert (found["val/top1"], found["val/top5"]) == (expected["val/top1"], expected["val/top5"])
    # Summed in another order
    assert found["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-6)
    with (run_dir / "per_class.csv").open() as file:
        classes = list(csv.DictReader(file))
    assert [row["class"] for row in classes] == [str(digit) for digit in range(10)]
    assert [row["images"] for row in classes] == ["5"] * 10
    assert np.mean([float(row["top1"]) for row in classes]) == pytest.approx(expected["val/top1"])
    with (run_dir / "confusion.csv").open() as file:
        rows = list(csv.reader(file))
    assert sum(int(rows[number + 1][number + 1]) for number in range(10)) == round(
        expected["val/top1"] / 2
    )


@pytest.mark.slow
def test_other_sets_stand_in_one_table_with_their_intervals(
    finished: tuple[Command, Path], work: Callable[..., Path], few_digits: Path, tmp_path: Path
) -> None:
    """Of two of the ten classes the images are those of `val`, and so are the answers."""
    for digit in ("3", "7"):
        shutil.copytree(few_digits / "val" / digit, tmp_path / "some" / digit)
    some = f"+evaluation.sets.some={tmp_path / 'some'}"
    run_dir = work("task=evaluate", f"checkpoint={finished[1]}", some)
    with (run_dir / "evaluation.csv").open() as file:
        rows = {(row["set"], row["metric"]): row for row in csv.DictReader(file)}
    assert rows["val", "top1"]["images"] == "50" and rows["some", "top1"]["images"] == "10"
    found = metrics_of(run_dir)
    assert found["some/top5"] == 100  # of two classes
    for (name, metric), row in rows.items():
        assert found[f"{name}/{metric}"] == pytest.approx(float(row["value"]))
        assert None not in row.values()  # no field is missing
        if metric in ("top1", "balanced_accuracy"):
            assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    outcomes = load_outcomes(run_dir / "val_outcomes.npz")
    of_some = np.isin(outcomes.labels, (3, 7))
    # With fewer classes to choose from none of them is found less often
    right = (outcomes.predicted == outcomes.labels)[of_some]
    assert found["some/top1"] >= 100 * right.mean()


def test_the_leader_alone_draws_intervals(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, share = np.arange(50) // 5, np.full(50, 0.5, np.float32)
    found = {"top1": 100.0}, Outcomes(labels, labels, share, share)
    monkeypatch.setattr(evaluate, "load_network", lambda *_: None)
    monkeypatch.setattr(evaluate, "evaluate_images", lambda *_, **__: found)
    monkeypatch.setattr(evaluate, "intervals", lambda *_: pytest.fail("drawn by another rank"))
    words = ("task=evaluate", f"checkpoint={tmp_path}/w.safetensors", *TINY)
    cfg = make_config(*words, f"dataset.data_url={few_digits}")
    with open_tracker(cfg, tmp_path, is_leader=False) as tracker:
        other = Runtime("CPU", half=None, rank=1, size=2)
        assert evaluate.run(cfg, tmp_path, other, tracker) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_row_without_an_interval_has_as_many_fields_as_the_heading() -> None:
    labels, share = np.arange(50) // 5, np.full(50, 0.5, np.float32)
    metrics = {"loss": 0.7, "top1": 100.0}
    rows = evaluate.table_rows("val", metrics, Outcomes(labels, labels, share, share))
    assert [len(row) for row in rows] == 3 * [len(evaluate.HEADER)]
    assert [row[2] for row in rows if row[4:] == ["", ""]] == ["loss", "ece"]


def test_images_without_a_right_class_do_not_count_in_the_row_of_real_labels() -> None:
    predicted, share = np.array([2, 1, 0, 3]), np.full(4, 0.5, np.float32)
    answers = [frozenset(right) for right in ({1, 2}, {0}, {}, {3})]
    row = evaluate.real_row(Outcomes(np.zeros(4, int), predicted, share, share), answers)
    assert row[:4] == ["real", 3, "top1", pytest.approx(200 / 3)]
    # Clopper and Pearson, of 2 in 3: the quantiles of Beta(2, 2) and Beta(3, 1)
    np.testing.assert_allclose(row[4:], [9.43, 100 * 0.975 ** (1 / 3)], rtol=1e-3)
