from __future__ import annotations

import re
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from published_files import class_token_shapes, masked_shapes, write_random
from safetensors.numpy import load_file, save_file
from settings import GOLDEN, OFFICIAL, make_config

from beit_exp.errors import UserError
from beit_exp.model.build import build_masked_model, build_model
from beit_exp.model.precision import build_precision
from beit_exp.train.checkpoint import save_checkpoint
from beit_exp.weights.load import load_pretrained, load_trained
from beit_exp.weights.model_settings import model_settings
from beit_exp.weights.torch_file import read_torch_file

SHARED = GOLDEN / "model" / "shared_rel_pos" / "official.pth"
TABLE = "relative_position_bias_table"
SMALL = ("model.embed_dim=48", "model.depth=3", "model.num_heads=3", "model.abs_pos_emb=false")


def build(*overrides: str, num_classes: int = 10):
    cfg = make_config(*SMALL, *overrides).model
    return build_model(
        cfg, num_classes=num_classes, precision=build_precision("O0", half=ms.float32), seed=0
    )


def value(network, name: str) -> np.ndarray:
    return network.parameters_dict()[name].asnumpy()


def save(arrays: dict[str, np.ndarray], path: Path) -> str:
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return str(path)


def hugging_face_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of transformers' BeitForImageClassification for the same weights."""
    renamed = {}
    for name, array in arrays.items():
        block = re.match(r"blocks\.(\d+)\.", name)
        prefix = f"beit.encoder.layer.{block[1]}." if block else ""
        leaf = name.removeprefix(block[0]) if block else name
        if leaf == "attn.qkv.weight":
            for part, letter in zip(np.split(array, 3), ("query", "key", "value"), strict=True):
                renamed[f"{prefix}attention.attention.{letter}.weight"] = part
            continue
        leaf = {
            "attn.q_bias": "attention.attention.query.bias",
            "attn.v_bias": "attention.attention.value.bias",
            f"attn.{TABLE}": f"attention.attention.relative_position_bias.{TABLE}",
            "cls_token": "beit.embeddings.cls_token",
            "gamma_1": "lambda_1",
            "gamma_2": "lambda_2",
        }.get(leaf, leaf)
        for ours, theirs in (
            ("norm1.", "layernorm_before."),
            ("norm2.", "layernorm_after."),
            ("attn.proj.", "attention.output.dense."),
            ("mlp.fc1.", "intermediate.dense."),
            ("mlp.fc2.", "output.dense."),
            ("patch_embed.proj.", "beit.embeddings.patch_embeddings.projection."),
            ("fc_norm.", "beit.pooler.layernorm."),
            ("head.", "classifier."),
        ):
            if leaf.startswith(ours):
                leaf = leaf.replace(ours, theirs, 1)
        renamed[prefix + leaf] = array
    return renamed


@pytest.mark.parametrize("kind", ["timm", "hugging face", "ours", "mindspore"])
def test_every_format_gives_the_same_network(
    kind: str, official: dict[str, np.ndarray], tmp_path: Path
) -> None:
    reference = build()
    load_trained(reference, str(OFFICIAL))
    if kind == "ours":
        path = str(tmp_path / "step.safetensors")
        save_checkpoint(
            Path(path),
            {f"model/{p.name}": p for p in reference.get_parameters()},
            {"classes": ["a"]},
        )
    elif kind == "mindspore":
        path = str(tmp_path / "seed.ckpt")
        entries = [
            {"name": p.name.replace("norm1.weight", "norm1.gamma"), "data": p}
            for p in reference.get_parameters()
        ]
        ms.save_checkpoint(entries, path)
    else:
        path = save(
            official if kind == "timm" else hugging_face_names(official), tmp_path / "w.safetensors"
        )
    network = build()
    outcome = load_trained(network, path)
    assert (len(outcome.loaded), outcome.new, outcome.unused) == (
        len(reference.parameters_dict()),
        [],
        [],
    )
    for parameter in reference.get_parameters():
        assert (value(network, parameter.name) == parameter.asnumpy()).all(), parameter.name


def test_half_precision_files_are_widened(official: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = save(
        {name: array.astype(np.float16) for name, array in official.items()},
        tmp_path / "half.safetensors",
    )
    network = build()
    load_trained(network, path)
    np.testing.assert_allclose(value(network, "head.weight"), official["head.weight"], rtol=1e-3)


def test_a_foreign_head_is_dropped_with_its_bias(official: dict[str, np.ndarray]) -> None:
    network = build(num_classes=7)
    before = value(network, "head.weight").copy()
    outcome = load_pretrained(network, str(OFFICIAL))
    assert outcome.new == ["head.weight", "head.bias"]
    assert len(outcome.dropped) == 2
    assert (value(network, "head.weight") == before).all()
    assert (value(network, "cls_token") == official["cls_token"]).all()


def test_a_trained_checkpoint_must_bring_its_head() -> None:
    with pytest.raises(
        UserError, match=r"does not fit the network.*head.weight is \(10, 48\), needed \(7, 48\)"
    ):
        load_trained(build(num_classes=7), str(OFFICIAL))


def test_a_shared_table_is_copied_to_every_block_and_pretraining_leftovers_are_listed(
    tmp_path: Path,
) -> None:
    arrays = read_torch_file(SHARED)
    for name in [name for name in arrays if name.startswith(("head.", "fc_norm."))]:
        del arrays[name]
    arrays |= {
        "mask_token": np.zeros((1, 1, 48), np.float32),
        "lm_head.weight": np.zeros((64, 48), np.float32),
        "norm.weight": np.ones(48, np.float32),
    }
    network = build()
    outcome = load_pretrained(network, save(arrays, tmp_path / "pt22k.safetensors"))
    assert outcome.new == ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    assert sorted(outcome.unused) == ["lm_head.weight", "mask_token", "norm.weight"]
    for block in range(3):
        table = value(network, f"blocks.{block}.rel_pos.relative_position_bias_table")
        assert (table == arrays["rel_pos_bias.relative_position_bias_table"]).all()


@pytest.mark.parametrize("shared_lm_head", [True, False])
def test_what_beit_v2_pre_trains_the_class_token_by_is_left_aside(
    shared_lm_head: bool, tmp_path: Path
) -> None:
    """As beit2/run_class_finetuning.py does, whose `load_state_dict` names it as not used."""
    own = ("model=beitv2_base_patch16_224", *SMALL, "model.depth=2")
    shared = ("model.rel_pos_bias=false", "model.shared_rel_pos_bias=true")
    cfg = make_config(*own, *shared).model
    extra = class_token_shapes(cfg, vocabulary=16, shared_lm_head=shared_lm_head)
    path = write_random(tmp_path / "pt1k.safetensors", masked_shapes(cfg, vocabulary=16) | extra)
    network = build(*own)
    outcome = load_pretrained(network, path)
    names = {name.split(".attn.")[0] for name in outcome.unused if ".attn." in name}
    assert names == {"cls_pt_layers.0", "cls_pt_layers.1"}
    rest = {name for name in outcome.unused if not name.startswith("cls_pt_layers.")}
    heads = {f"{name}.{part}" for name in ("norm", "lm_head") for part in ("weight", "bias")}
    more = set() if shared_lm_head else {f"cls_pt_{name}" for name in heads}
    assert rest == {"mask_token"} | heads | more
    assert outcome.new == ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    told = cfg.model_copy(update=model_settings(path, "best"))  # as model=auto has it
    precision = build_precision("O0", half=ms.float32)
    found_by_weights = build_model(told, num_classes=10, precision=precision, seed=0)
    assert load_pretrained(found_by_weights, path).unused == outcome.unused
    found = load_file(path)
    for block in range(2):
        table = value(network, f"blocks.{block}.rel_pos.{TABLE}")
        assert (table == found[f"rel_pos_bias.{TABLE}"]).all()
        weight = value(network, f"blocks.{block}.mlp.fc1.weight")
        assert (weight == found[f"blocks.{block}.mlp.fc1.weight"]).all()


def test_weights_with_absolute_positions_alone_load_into_the_recipe_that_takes_them(
    tmp_path: Path,
) -> None:
    """beit/README.md, line 190: --disable_rel_pos_bias --abs_pos_emb --layer_scale_init_value 0."""
    small = ("model.embed_dim=24", "model.depth=2", "model.num_heads=2")
    cfg = make_config("experiment=imagenet_base_pt1k", *small).model
    path = write_random(tmp_path / "pt1k_800ep.safetensors", masked_shapes(cfg, vocabulary=16))
    precision = build_precision("O0", half=ms.float32)
    network = build_model(cfg, num_classes=10, precision=precision, seed=0)
    outcome = load_pretrained(network, path)
    assert outcome.new == ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    assert (outcome.resized, outcome.dropped) == ([], [])
    found = load_file(path)
    assert found["pos_embed"].shape == (1, 197, 24)
    assert (value(network, "pos_embed") == found["pos_embed"]).all()
    assert not any(TABLE in name or "gamma" in name for name in network.parameters_dict())
    with pytest.raises(UserError, match="does not fit the network"):
        load_pretrained(build(*small), path)


def test_tables_are_resized_for_another_image_size() -> None:
    network = build("model.image_size=48")
    outcome = load_pretrained(network, str(OFFICIAL))
    assert len(outcome.resized) == 3
    assert "(52, 3) -> (124, 3)" in outcome.resized[0]
    assert "resized        3" in outcome.table()


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = save(
        {"layer1.0.conv1.weight": np.zeros((3, 3), np.float32)}, tmp_path / "resnet.safetensors"
    )
    with pytest.raises(UserError, match="resnet.safetensors holds no weights of a BEiT"):
        load_pretrained(build(), path)


def test_a_deeper_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"blocks.2.gamma_1 \(48,\) has no place in the network"):
        load_pretrained(build("model.depth=2"), str(OFFICIAL))


def test_a_missing_block_is_refused(official: dict[str, np.ndarray], tmp_path: Path) -> None:
    arrays = {name: array for name, array in official.items() if not name.startswith("blocks.1.")}
    path = save(arrays, tmp_path / "gap.safetensors")
    with pytest.raises(
        UserError,
        match=r"gap.safetensors does not fit the network: .*blocks.1.gamma_1 \(48,\) is missing",
    ):
        load_pretrained(build(), path)


def test_fine_tuning_leaves_aside_what_a_run_of_ours_pre_trained_the_class_token_by(
    tmp_path: Path,
) -> None:
    extra = ("mask.early_block=2", "mask.head_blocks=2", "mask.shared_lm_head=false")
    cfg = make_config("experiment=pretrain_digits", *SMALL, *extra)
    precision = build_precision("O0", half=ms.float32)
    trained = build_masked_model(cfg.model, cfg.mask, vocabulary=16, precision=precision, seed=3)
    arrays = {parameter.name: parameter.asnumpy() for parameter in trained.get_parameters()}
    network = build()
    outcome = load_pretrained(network, save(arrays, tmp_path / "best.safetensors"))
    beside = {name for name in arrays if name.startswith("cls_pt_")}
    assert beside and beside <= set(outcome.unused)
    assert outcome.new == ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    for name in ("cls_token", "blocks.2.mlp.fc2.weight"):
        np.testing.assert_array_equal(value(network, name), arrays[name])


def test_an_absent_head_is_an_error_where_the_file_is_not_from_pretraining(
    official, tmp_path: Path
) -> None:
    arrays = {name: array for name, array in official.items() if not name.startswith("fc_norm.")}
    with pytest.raises(UserError, match=r"fc_norm.weight \(48,\) is missing"):
        load_pretrained(build(), save(arrays, tmp_path / "w.safetensors"))


def test_loaded_weights_give_the_published_logits_through_every_layer() -> None:
    reference = np.load(GOLDEN / "model" / "rel_pos" / "reference.npz")
    network = build()
    load_trained(network, str(OFFICIAL))
    np.testing.assert_allclose(
        network(Tensor(reference["images"])).asnumpy(), reference["logits"], atol=1e-4
    )


def test_a_head_for_one_label_an_image_is_not_taken_for_several(tmp_path: Path) -> None:
    network = build()
    before = {
        name: value(network, name).copy() for name in ("head.weight", "head.bias", "cls_token")
    }
    (tmp_path / "config.json").write_text('{"problem_type": "single_label_classification"}')
    path = save(read_torch_file(OFFICIAL), tmp_path / "w.safetensors")
    outcome = load_pretrained(network, path, multi_label=True)
    assert outcome.dropped == [
        f"head.{name} (of the other dataset.multi_label)" for name in ("weight", "bias")
    ]
    for name in ("head.weight", "head.bias"):
        np.testing.assert_array_equal(value(network, name), before[name])
    assert (value(network, "cls_token") != before["cls_token"]).any()
    assert load_pretrained(network, path).dropped == []
