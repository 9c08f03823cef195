from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn
from networks import build
from settings import TINY

from beit_exp.inference.evaluate import batch_sums, evaluate, evaluate_multi_label
from beit_exp.report.multi_label import MultiLabelOutcomes, load_outcomes
from beit_exp.report.outcomes import Outcomes

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="module")
def network() -> nn.Cell:
    """One network, so that a size of batch is compiled once."""
    return build(*TINY, "model.depth=1", "model.head_init_scale=1.0")


def test_sums_are_those_of_the_definition() -> None:
    logits = np.array([[3.0, 1, 2, 0, 0, 0, -1], [0, 1, 2, 3, 4, 5, 6]], np.float32)
    count, loss, top1, top5 = batch_sums(logits, np.array([0, 1]))
    expected = sum(
        np.log(np.exp(row - row[label]).sum())
        for row, label in zip(logits.astype(float), (0, 1), strict=True)
    )
    assert (count, top1, top5) == (2, 1, 1)
    assert loss == pytest.approx(expected)


def test_equal_logits_count_for_one_class_only() -> None:
    logits = np.zeros((10, 10), np.float32)
    assert batch_sums(logits, np.arange(10)).tolist()[2:] == [1, 5]


def test_logits_that_are_not_numbers_are_never_right() -> None:
    assert batch_sums(np.full((3, 10), np.nan, np.float32), np.arange(3))[2:].tolist() == [0, 0]
    broken = np.array([[9, 0, np.nan], [9, 0, -np.inf], [9, 0, 1]], np.float32)
    assert batch_sums(broken, np.zeros(3, int))[2:].tolist() == [1, 1]


@pytest.mark.parametrize("size", [7, 16, 50])
def test_accuracy_does_not_depend_on_the_batch_size(size: int, network: nn.Cell) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((50, 3, 32, 32), np.float32), rng.integers(0, 10, 50)

    def measure(batch_size: int) -> tuple[dict[str, float], Outcomes]:
        parts = [
            (images[at : at + batch_size], labels[at : at + batch_size])
            for at in range(0, 50, batch_size)
        ]
        return evaluate(
            network,
            parts,
            batch_size=batch_size,
            gather=lambda sums: sums[None],
            check_stop=lambda: None,
        )

    (found, outcomes), (whole, _) = measure(size), measure(50)
    assert outcomes.labels.tolist() == labels.tolist()
    assert 100 * np.mean(outcomes.predicted == labels) == pytest.approx(found["top1"])
    right = outcomes.predicted == labels
    np.testing.assert_array_equal(outcomes.probability[right], outcomes.label_probability[right])
    assert -np.log(outcomes.label_probability).mean() == pytest.approx(found["loss"], rel=1e-5)
    assert (found["top1"], found["top5"]) == (whole["top1"], whole["top5"])
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_outcomes_of_several_ranks_stand_in_the_order_of_the_set(
    network: nn.Cell, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((7, 3, 32, 32), np.float32), rng.integers(0, 10, 7)
    sent: list[list[np.ndarray]] = []

    def measure(rank: int, gather) -> Outcomes:
        part = (images[rank::2], labels[rank::2])
        return evaluate(network, [part], batch_size=4, gather=gather, check_stop=lambda: None)[1]

    for rank in (0, 1):  # each rank's own rows, the second's 3 filled up to the first's 4
        sent.append([])
        measure(rank, lambda row: sent[-1].append(row) or np.stack([row, row]))
    sent[1][1] = np.concatenate([sent[1][1][:12], np.zeros(4, np.float32)])
    answers = iter([np.stack(pair) for pair in zip(*sent, strict=True)])
    found = measure(0, lambda _: next(answers))
    alone = evaluate(
        network,
        [(images, labels)],
        batch_size=7,
        gather=lambda row: row[None],
        check_stop=lambda: None,
    )[1]
    assert found.labels.tolist() == labels.tolist()
    assert found.predicted.tolist() == alone.predicted.tolist()
    found.save(tmp_path / "outcomes.npz")
    assert load_outcomes(tmp_path / "outcomes.npz").labels.tolist() == labels.tolist()


def test_several_labels_of_several_ranks_are_measured_as_those_of_one(network: nn.Cell) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((7, 3, 32, 32), np.float32)
    labels = (rng.random((7, 10)) < 0.4).astype(np.uint8)
    sent: list[list[np.ndarray]] = []

    def measure(parts, gather) -> tuple[dict[str, float], MultiLabelOutcomes]:
        return evaluate_multi_label(
            network,
            parts,
            batch_size=4,
            num_classes=10,
            gather=gather,
            check_stop=lambda: None,
        )

    for rank in (0, 1):  # the second's 3 rows are filled up to the first's 4
        sent.append([])
        part = [(images[rank::2], labels[rank::2])]
        measure(part, lambda row: sent[-1].append(row) or np.stack([row, row]))
    sent[1][1] = np.concatenate([sent[1][1][:60], np.zeros(20, np.float32)])
    answers = iter([np.stack(pair) for pair in zip(*sent, strict=True)])
    found, outcomes = measure([(images[::2], labels[::2])], lambda _: next(answers))
    whole = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    expected, alone = measure(whole, lambda row: row[None])
    assert outcomes.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(outcomes.probabilities, alone.probabilities, rtol=1e-5)
    assert found == pytest.approx(expected, rel=1e-5)
    shares = np.where(labels == 1, alone.probabilities, 1 - alone.probabilities)
    assert expected["loss"] == pytest.approx(-np.log(shares).mean(), rel=1e-5)


def test_a_label_whose_logit_is_not_a_number_is_never_found() -> None:
    class NotANumber:
        def set_train(self, mode: bool) -> None:
            pass

        def __call__(self, images: Tensor) -> Tensor:
            return Tensor(np.full((len(images), 2), np.nan, np.float32))

    batch = np.zeros((2, 3, 4, 4), np.float32), np.ones((2, 2), np.uint8)
    found, _ = evaluate_multi_label(
        NotANumber(),
        [batch],
        batch_size=2,
        num_classes=2,
        gather=lambda row: row[None],
        check_stop=lambda: None,
    )
    assert np.isnan(found["loss"]) and found["macro_f1"] == 0
