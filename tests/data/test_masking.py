from __future__ import annotations

import json

import numpy as np
from agreement import agree
from settings import GOLDEN

from beit_exp.data.masking import block_mask


def test_masks_are_distributed_as_the_official_ones() -> None:
    golden = json.loads((GOLDEN / "masking.json").read_text())
    rng = np.random.default_rng(0)
    grid, count = golden["grid"][0], golden["num_masking_patches"]
    counts = np.array(
        [
            block_mask(
                grid, count=count, min_block=golden["min_num_patches"], is_exact=False, rng=rng
            ).sum()
            for _ in range(golden["draws"])
        ]
    )
    agree("masks: mean number of hidden patches", counts.mean(), golden["mean"], within=0.5)
    agree(
        "masks: share with the full number",
        (counts == count).mean(),
        golden["share_exactly_75"],
        within=0.05,
    )
    assert counts.max() == golden["maximum"]
    assert counts.min() >= golden["minimum"] - 5


def test_an_exact_mask_hides_just_as_many_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    masks = [block_mask(14, count=75, min_block=16, is_exact=True, rng=rng) for _ in range(200)]
    assert {int(mask.sum()) for mask in masks} == {75}
