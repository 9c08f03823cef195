from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from published_files import class_token_shapes, masked_shapes, published_shapes, write_empty
from safetensors.numpy import save
from settings import GOLDEN, OFFICIAL, make_config

from beit_exp.config.mapping import save_config
from beit_exp.errors import UserError
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.train.checkpoint import save_checkpoint
from beit_exp.weights.architecture import LAYER_SCALE
from beit_exp.weights.hugging_face import model_config
from beit_exp.weights.model_settings import are_multi_label, model_settings, num_classes

TOLD = (
    *("image_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio"),
    *("rel_pos_bias", "shared_rel_pos_bias", "abs_pos_emb", "layer_scale_init_value", "pooling"),
)


@pytest.mark.parametrize(
    "option",
    [
        "beit_base_patch16_224",
        "beit_base_patch16_384",
        "beit_large_patch16_224",
        "beit_large_patch16_512",
        "beitv2_base_patch16_224",
        "beitv2_large_patch16_224",
    ],
)
def test_a_published_file_tells_its_network(option: str, tmp_path: Path) -> None:
    cfg = make_config(f"model={option}").model
    path = write_empty(tmp_path / "w.safetensors", published_shapes(cfg, classes=1000))
    found, expected = model_settings(path, "best"), cfg.model_dump()
    assert found.pop("arch").startswith(f"beit_{cfg.embed_dim}x{cfg.depth}_patch16_")
    assert found.pop("layer_scale_init_value") == LAYER_SCALE  # of any, for it sets no result
    assert found == {name: expected[name] for name in TOLD if name in found}
    assert len(found) == len(TOLD) - 1 and num_classes(path, "best") == 1000


def test_a_pre_trained_file_of_absolute_positions_is_the_published_one(tmp_path: Path) -> None:
    cfg = make_config(
        "model=beit_base_patch16_224",
        *("model.abs_pos_emb=true", "model.rel_pos_bias=false"),
        "model.layer_scale_init_value=null",
    ).model
    path = write_empty(tmp_path / "pt.safetensors", published_shapes(cfg, classes=None))
    found, expected = model_settings(path, "best"), cfg.model_dump()
    assert {name: found[name] for name in TOLD} == {name: expected[name] for name in TOLD}
    assert num_classes(path, "best") is None


@pytest.mark.parametrize("shared_lm_head", [True, False])
@pytest.mark.parametrize("option", ["beitv2_base_patch16_224", "beitv2_large_patch16_224"])
def test_blocks_of_the_class_token_are_no_depth(
    option: str, shared_lm_head: bool, tmp_path: Path
) -> None:
    """beitv2_*_pt1k.pth: two blocks more than those that a fine-tuning takes."""
    shared = ("model.rel_pos_bias=false", "model.shared_rel_pos_bias=true")
    cfg = make_config(f"model={option}", *shared).model
    shapes = masked_shapes(cfg, vocabulary=8192)
    shapes |= class_token_shapes(cfg, vocabulary=8192, shared_lm_head=shared_lm_head)
    found = model_settings(write_empty(tmp_path / "pt1k.safetensors", shapes), "best")
    expected = cfg.model_dump() | {"layer_scale_init_value": LAYER_SCALE}
    assert {name: found[name] for name in TOLD} == {name: expected[name] for name in TOLD}


@pytest.mark.parametrize("variant", ["rel_pos", "shared_rel_pos", "abs_pos", "cls_token"])
def test_a_torch_file_tells_its_network(variant: str) -> None:
    found = model_settings(str(GOLDEN / "model" / variant / "official.pth"), "best")
    sizes = {"image_size": 32, "embed_dim": 48, "depth": 3, "mlp_ratio": 4.0}
    assert {name: found[name] for name in sizes} == sizes
    assert found["rel_pos_bias"] == (variant in ("rel_pos", "cls_token"))
    assert found["abs_pos_emb"] == (variant == "abs_pos")
    assert found["pooling"] == ("cls" if variant == "cls_token" else "mean")
    assert ("num_heads" in found) == (variant != "abs_pos")  # nothing tells them


def test_heads_stand_in_a_config_json_beside_the_file(tmp_path: Path) -> None:
    cfg = make_config("model.rel_pos_bias=false", "model.num_heads=8").model
    write_empty(tmp_path / "model.safetensors", published_shapes(cfg, classes=3))
    (tmp_path / "config.json").write_text(
        json.dumps(model_config(cfg, ["a", "b", "c"], multi_label=False))
    )
    assert model_settings(str(tmp_path), "best")["num_heads"] == 8
    (tmp_path / "config.json").write_text('{"model_type": "beit", "num_attention_heads": "8"}')
    with pytest.raises(UserError, match="num_attention_heads is no whole number"):
        model_settings(str(tmp_path), "best")
    (tmp_path / "config.json").write_text('{"model_type": "vit", "num_attention_heads": 2}')
    assert "num_heads" not in model_settings(str(tmp_path), "best")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        model_settings(str(tmp_path), "best")


def test_a_checkpoint_and_an_export_tell_all(tmp_path: Path) -> None:
    cfg = make_config("model.rel_pos_bias=false", "model.depth=1", "model.arch=mine")
    network = build_model(
        cfg.model, num_classes=10, precision=build_precision("O0", half=ms.float32), seed=0
    )
    tensors = {f"model/{each.name}": each for each in network.get_parameters()}
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, tensors, {"config": cfg.model_dump()})
    assert model_settings(str(path), "best") == cfg.model.model_dump()
    file = write_empty(tmp_path / "mine.safetensors", published_shapes(cfg.model, classes=10))
    save_config(
        cfg.model_copy(update={"task": "export", "checkpoint": "run"}), tmp_path / "config.yaml"
    )
    assert model_settings(file, "best") == cfg.model.model_dump()


def test_shapes_of_something_else_tell_no_more_than_they_are(tmp_path: Path) -> None:
    shapes = {"blocks.x.gamma_1": (1,), "pos_embed": (2,), "patch_embed.proj.weight": (1, 1, 1, 1)}
    found = model_settings(write_empty(tmp_path / "w.safetensors", shapes), "best")
    assert "image_size" not in found and found["arch"] == "beit_1x0_patch1_any"


def test_weights_tell_whether_their_labels_are_several(tmp_path: Path) -> None:
    foreign = tmp_path / "model.safetensors"
    foreign.write_bytes(save({"head.bias": np.zeros(2, np.float32)}))
    assert are_multi_label(foreign) is None and are_multi_label(OFFICIAL) is None
    for kind, expected in (("multi", True), ("single", False), ("no", None)):
        described = json.dumps({"problem_type": f"{kind}_label_classification"})
        (tmp_path / "config.json").write_text(described)
        assert are_multi_label(foreign) is expected
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(UserError, match="config.json is damaged"):
        are_multi_label(foreign)
