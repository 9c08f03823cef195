from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from whole_runs import Command, metrics_of

SPLITS = ("train", "val")
QUICK = ("probe.few_shot=[1,5]", "probe.inverse_regularisation=[0.01,1.0]")


@pytest.fixture
def stored(finished: tuple[Command, Path], work: Callable[..., Path]) -> Path:
    """A run of task=features, whose settings say other poolings than the default."""
    return work(
        "task=features", f"checkpoint={finished[1]}", "features.pooling=both", name="stored"
    )


@pytest.mark.slow
def test_a_network_and_its_stored_features_are_worth_the_same(
    finished: tuple[Command, Path], work: Callable[..., Path], stored: Path
) -> None:
    pooled = "features.pooling=both"
    of_run = work("task=probe", f"checkpoint={finished[1]}", pooled, *QUICK, name="of_run")
    of_stored = work("task=probe", f"checkpoint={stored}", *QUICK, name="of_stored")
    metrics = metrics_of(of_run)
    assert metrics == metrics_of(of_stored)
    assert (of_run / "probe.csv").read_text() == (of_stored / "probe.csv").read_text()
    assert not list(of_run.glob(".features*")) and not (of_run / "features").exists()

    with (of_run / "probe.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["probe"] for row in rows] == ["knn"] * 4 + ["linear"] + ["few_shot"] * 2
    assert float(rows[1]["top1"]) == metrics["probe/block0_knn20_top1"]

    known, queries = (normalize(np.load(stored / f"features/{s}/block0.npy")) for s in SPLITS)
    labels, answers = (np.repeat(np.arange(10), each) for each in (8, 5))
    model = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d**2 / 2) / 0.07))
    expected = 100 * model.fit(known, labels).score(queries, answers)
    assert metrics["probe/block0_knn20_top1"] == pytest.approx(expected, abs=2.0)  # one image


@pytest.mark.slow
def test_features_that_are_not_as_the_settings_say_are_refused(
    finished: tuple[Command, Path],
    work: Callable[..., Path],
    stored: Path,
    few_digits: Path,
    caplog,
) -> None:
    work("task=probe", f"checkpoint={stored}", "features.pooling=cls", name="cls", status=2)
    assert "features.pooling = 'cls': the features in" in caplog.text
    (stored / "features" / "train" / "block0.npy").rename(stored / "features/train/block1.npy")
    work("task=probe", f"checkpoint={stored}", "probe.blocks=[0]", name="block", status=2)
    assert "holds the blocks [1], and not [0]" in caplog.text
    place = work(
        "task=features", f"checkpoint={finished[1]}", f"images={few_digits / 'val'}", name="place"
    )
    work("task=probe", f"checkpoint={place}", "images=null", name="unlabelled", status=2)
    assert "holds no features of train and val" in caplog.text
