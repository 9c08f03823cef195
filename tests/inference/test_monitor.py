"""k-NN accuracy while a network is pre-trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from networks import O0
from settings import pretraining

from beit_exp.data.sources import open_splits
from beit_exp.hardware.device import Runtime
from beit_exp.inference import monitor
from beit_exp.inference.features import BlockFeatures, feature_rows
from beit_exp.inference.monitor import make_neighbour_metric
from beit_exp.model.build import build_masked_model
from beit_exp.probes.neighbours import neighbour_accuracy

RUNTIME = Runtime("CPU", half=ms.float32, rank=0, size=1)
SETTINGS = ("features.blocks=[0]", "features.pooling=both", "probe.every_neighbours=3")
pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture
def measured(few_digits: Path):
    """A network as it is pre-trained, and what measures it on the ranks of a runtime."""
    cfg, splits = pretraining(few_digits, *SETTINGS), open_splits(pretraining(few_digits))
    network = build_masked_model(cfg.model, cfg.mask, vocabulary=16, precision=O0, seed=0)

    def measure(runtime) -> dict[str, float]:
        session = SimpleNamespace(
            cfg=cfg, runtime=runtime, train_images=splits.train, val_images=splits.val
        )
        return make_neighbour_metric(network, session)(lambda: None)

    return cfg, splits, network, measure


def test_the_metric_is_the_accuracy_of_vals_images_by_trains(measured) -> None:
    cfg, splits, network, measure = measured
    cell = BlockFeatures(network, blocks=[0], pooling="both")
    train, val = (
        np.concatenate(list(feature_rows(cell, images, cfg, RUNTIME, check_stop=lambda: None)))
        for images in (splits.train, splits.val)
    )
    expected = neighbour_accuracy(
        train[:, 0],
        splits.train.labels,
        val[:, 0],
        splits.val.labels,
        counts=[3],
        temperature=0.07,
        num_classes=10,
    )[3]["top1"]
    assert measure(RUNTIME) == {"knn_top1": pytest.approx(expected, abs=1e-9)}
    assert 0 < expected < 100


def test_every_rank_goes_on_by_the_leaders_number(
    measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, measure = measured
    monkeypatch.setattr(monitor, "neighbour_accuracy", lambda *_, **__: {3: {"top1": 100 / 3}})
    sent = []

    def gather(row: np.ndarray) -> np.ndarray:
        leaders = np.array([100 / 3, 0], np.float32)
        leaders[1] = 100 / 3 - leaders[0]
        sent.append(row)
        return np.stack([leaders, row]) if row.size == 2 else np.stack([row, row])

    found = measure(SimpleNamespace(rank=1, size=2, is_leader=False, gather=gather))
    assert found == {"knn_top1": pytest.approx(100 / 3, rel=1e-12)}
    assert sent[-1].tolist() == [0, 0]  # this rank computes no accuracy
