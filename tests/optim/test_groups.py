from __future__ import annotations

import json

import pytest
from agreement import agree
from settings import GOLDEN

from beit_exp.optim.groups import has_weight_decay, layer_of, lr_scale, make_groups


@pytest.mark.parametrize("setting", ["beit_base_patch16_224", "beit_large_patch16_224"])
def test_groups_are_the_official_ones(setting: str) -> None:
    golden = json.loads((GOLDEN / "layer_decay.json").read_text())
    key = next(key for key in golden if key.startswith(setting))
    layer_decay, weight_decay = (float(part.split("=")[1]) for part in key.split(" ")[1:])
    depth = 12 if "base" in setting else 24
    dims = dict.fromkeys(golden[key], 1)
    for name in dims:
        if name.endswith((".weight", "_table")) and "norm" not in name:
            dims[name] = 2
        if name in ("cls_token", "pos_embed"):
            dims[name] = 3
    groups = make_groups(
        list(dims.items()), depth=depth, layer_decay=layer_decay, weight_decay=weight_decay
    )
    found = {name: [group.lr_scale, group.weight_decay] for group in groups for name in group.names}
    assert found.keys() == golden[key].keys()
    for name, expected in golden[key].items():
        agree("layer and weight decay per parameter", found[name], expected, within=1e-12)


def test_base_has_28_groups_that_hold_every_parameter_once() -> None:
    golden = json.loads((GOLDEN / "layer_decay.json").read_text())
    names = list(next(iter(golden.values())))
    parameters = [
        (name, 1 if name.endswith("bias") or "gamma" in name or "norm" in name else 2)
        for name in names
    ]
    groups = make_groups(parameters, depth=12, layer_decay=0.85, weight_decay=1e-8)
    assert sorted(name for group in groups for name in group.names) == sorted(names)
    assert len(groups) == 28


def test_head_keeps_full_learning_rate_under_layer_decay() -> None:
    assert lr_scale("head.weight", depth=12, decay=0.65) == 1
    assert lr_scale("fc_norm.bias", depth=12, decay=0.65) == 1
    assert lr_scale("blocks.11.norm1.weight", depth=12, decay=0.65) == 0.65
    assert lr_scale("patch_embed.proj.weight", depth=12, decay=0.65) == pytest.approx(
        0.0036972, rel=1e-4
    )


def test_shared_bias_belongs_to_the_heads_layer() -> None:
    assert layer_of("rel_pos_bias.relative_position_bias_table", depth=12) == 13


def test_tables_are_decayed_and_vectors_are_not() -> None:
    assert has_weight_decay("blocks.0.rel_pos.relative_position_bias_table", ndim=2)
    assert not has_weight_decay("blocks.0.gamma_1", ndim=1)
    assert not has_weight_decay("pos_embed", ndim=3)
