"""What is found in features, and which of it counts."""

from __future__ import annotations

import numpy as np
import pytest
from settings import make_config

from beit_exp.probes.findings import (
    Finding,
    as_rows,
    best_of_each,
    by_block,
    metrics_of,
    probe_block,
)
from beit_exp.probes.linear import Labelled, measure_linear, probe_linear, standardised
from beit_exp.probes.neighbours import neighbour_accuracy
from beit_exp.probes.subsets import is_held_out

CHOSEN = Finding("knn", 0, 10, held_out_top1=90.0, top1=70.0, top5=99.0)
FINDINGS = [
    CHOSEN,
    Finding("knn", 0, 20, held_out_top1=80.0, top1=75.0, top5=99.0),
    Finding("few_shot", 0, 5, held_out_top1=50.0, top1=40.0, top5=80.0, top1_std=2.0),
    Finding("knn", 3, 10, held_out_top1=90.0, top1=95.0, top5=99.0),
    Finding("knn", 3, 20, held_out_top1=85.0, top1=96.0, top5=99.0),
    Finding("few_shot", 3, 5, held_out_top1=60.0, top1=35.0, top5=70.0, top1_std=1.5),
]


def test_what_did_best_on_held_out_images_counts_whatever_it_does_on_others() -> None:
    assert best_of_each(FINDINGS) == {"knn": CHOSEN, "few_shot5": FINDINGS[-1]}
    metrics = metrics_of(FINDINGS)
    assert metrics["probe/knn_top1"] == 70.0 and metrics["probe/knn_top5"] == 99.0
    assert metrics["probe/few_shot5_top1"] == 35.0 and metrics["probe/few_shot5_top1_std"] == 1.5
    assert metrics["probe/block3_knn20_top1"] == 96.0
    assert metrics["probe/block0_few_shot5_top1"] == 40.0
    assert len(metrics) == 2 + 3 + 6


def test_tables_tell_all_of_it_and_a_row_a_block() -> None:
    heading, first, *_ = as_rows(FINDINGS)
    assert dict(zip(heading, first, strict=True)) == {
        "probe": "knn",
        "block": 0,
        "setting": 10,
        "held_out_top1": 90.0,
        "top1": 70.0,
        "top5": 99.0,
        "top1_std": "",
        "converged": True,
    }
    assert by_block(FINDINGS) == (
        ["block", "10-NN", "20-NN", "5 a class"],
        [["0", "70.00", "75.00", "40.00 ± 2.00"], ["3", "95.00", "96.00", "35.00 ± 1.50"]],
    )


@pytest.fixture(scope="module")
def found(pixels) -> list[Finding]:
    """Findings in pixels; the parts in another order than that of the settings."""
    cfg = make_config(
        "probe.parts=[few_shot,knn,linear]",
        "probe.neighbours=[5,20]",
        "probe.few_shot=[2,10]",
        "probe.inverse_regularisation=[0.01,1.0]",
    ).probe
    train, val = Labelled(pixels.known, pixels.labels), Labelled(pixels.queries, pixels.answers)
    held_out = is_held_out(train.labels, share=0.1, seed=0)
    return probe_block(7, train, val, cfg, held_out_N=held_out, num_classes=10, seed=0)


def test_every_part_is_found_in_a_block(found: list[Finding]) -> None:
    assert [(each.probe, each.setting) for each in found[:4]] == [
        ("few_shot", 2),
        ("few_shot", 10),
        ("knn", 5),
        ("knn", 20),
    ]
    assert {each.block for each in found} == {7} and all(each.has_converged for each in found)
    two, ten, *_, linear = found
    assert two.top1 < ten.top1 < linear.top1
    assert two.top1_std > 0 and linear.top1_std is None
    assert linear.probe == "linear" and linear.setting in (0.01, 1.0)


def test_val_is_measured_by_all_of_train_and_held_out_images_by_the_rest(
    found: list[Finding], pixels
) -> None:
    train, val = Labelled(pixels.known, pixels.labels), Labelled(pixels.queries, pixels.answers)
    held_out = is_held_out(train.labels, share=0.1, seed=0)
    options = {"counts": [20], "temperature": 0.07, "num_classes": 10}
    of_val = neighbour_accuracy(*train, *val, **options)[20]
    rest, chosen = train.chosen(~held_out), train.chosen(held_out)
    of_held_out = neighbour_accuracy(*rest, *chosen, **options)[20]
    knn, linear = found[3], found[4]
    assert (knn.top1, knn.top5, knn.held_out_top1) == (*of_val.values(), of_held_out["top1"])
    result = probe_linear(
        *standardised(train, val),
        held_out_N=held_out,
        grid=[0.01, 1.0],
        max_iterations=1000,
        num_classes=10,
    )
    assert (linear.top1, linear.top5) == tuple(result.measured.values())
    assert linear.held_out_top1 == result.held_out_top1


def test_few_images_are_never_of_those_held_out(pixels, monkeypatch) -> None:
    train, val = Labelled(pixels.known, pixels.labels), Labelled(pixels.queries, pixels.answers)
    held_out = is_held_out(train.labels, share=0.1, seed=0)
    seen: list[int] = []

    def note(model, images: Labelled, *, num_classes: int) -> dict[str, float]:
        seen.append(len(images.labels))
        return measure_linear(model, images, num_classes=num_classes)

    monkeypatch.setattr("beit_exp.probes.findings.measure_linear", note)
    cfg = make_config("probe.parts=[few_shot]", "probe.few_shot=[1000]").probe
    (finding,) = probe_block(0, train, val, cfg, held_out_N=held_out, num_classes=10, seed=0)
    assert seen == [held_out.sum()] * 5 + [len(val.labels)] * 5
    assert finding.top1_std == pytest.approx(0, abs=1e-9)  # each draw is all of the rest
    assert np.isfinite(finding.held_out_top1)
