from __future__ import annotations

import json

import pytest
from agreement import agree
from settings import GOLDEN, make_config

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
        list(dims.items()),
        depth=depth,
        layer_decay=layer_decay,
        weight_decay=weight_decay,
        decay_rel_pos_bias=True,
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
    groups = make_groups(
        parameters, depth=12, layer_decay=0.85, weight_decay=1e-8, decay_rel_pos_bias=True
    )
    assert sorted(name for group in groups for name in group.names) == sorted(names)
    assert len(groups) == 28


def test_embeddings_of_a_part_of_a_network_are_not_decayed_either() -> None:
    names = ("encoder.cls_token", "decoder.pos_embed", "encoder.patch_embed.proj.weight")
    decays = [has_weight_decay(name, ndim=3, decay_rel_pos_bias=True) for name in names]
    assert decays == [False, False, True]


def test_head_keeps_full_learning_rate_under_layer_decay() -> None:
    assert lr_scale("head.weight", depth=12, decay=0.65) == 1
    assert lr_scale("fc_norm.bias", depth=12, decay=0.65) == 1
    assert lr_scale("blocks.11.norm1.weight", depth=12, decay=0.65) == 0.65
    assert lr_scale("patch_embed.proj.weight", depth=12, decay=0.65) == pytest.approx(
        0.0036972, rel=1e-4
    )


@pytest.mark.parametrize(
    "name",
    [
        "rel_pos_bias.relative_position_bias_table",
        "cls_pt_layers.0.attn.q.weight",
        "cls_pt_layers.1.norm1.bias",
        "cls_pt_norm.weight",
        "cls_pt_lm_head.weight",
    ],
)
def test_what_is_shared_or_beside_the_blocks_belongs_to_the_heads_layer(name: str) -> None:
    """beit2/optim_factory.py, `get_num_layer_for_vit`."""
    assert layer_of(name, depth=12) == 13


TABLES = [
    "blocks.0.rel_pos.relative_position_bias_table",
    "blocks.11.rel_pos.relative_position_bias_table",
    "rel_pos_bias.relative_position_bias_table",
]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("decays", [True, False])
def test_tables_are_decayed_unless_the_setting_says_otherwise(name: str, decays: bool) -> None:
    """run_class_finetuning.py: --disable_weight_decay_on_rel_pos_bias, by default off."""
    assert make_config().optimizer.decay_rel_pos_bias
    assert has_weight_decay(name, ndim=2, decay_rel_pos_bias=decays) == decays


@pytest.mark.parametrize("decays", [True, False])
def test_matrices_are_decayed_and_vectors_are_not(decays: bool) -> None:
    assert has_weight_decay("blocks.0.attn.q.weight", ndim=2, decay_rel_pos_bias=decays)
    assert not has_weight_decay("blocks.0.gamma_1", ndim=1, decay_rel_pos_bias=decays)
    assert not has_weight_decay("pos_embed", ndim=3, decay_rel_pos_bias=decays)


def test_without_decay_of_tables_only_they_change_their_group() -> None:
    parameters = [(TABLES[0], 2), ("blocks.0.mlp.fc1.weight", 2), ("blocks.0.norm1.bias", 1)]
    decayed, spared = (
        {
            name: (group.lr_scale, group.weight_decay)
            for group in make_groups(
                parameters, depth=1, layer_decay=0.5, weight_decay=0.1, decay_rel_pos_bias=decays
            )
            for name in group.names
        }
        for decays in (True, False)
    )
    assert decayed[TABLES[0]] == (0.5, 0.1)
    assert spared == decayed | {TABLES[0]: (0.5, 0.0)}
