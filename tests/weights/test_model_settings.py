from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mindspore as ms
import pytest
from settings import GOLDEN, make_config

from beit_exp.config.mapping import save_config
from beit_exp.errors import UserError
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.train.checkpoint import save_checkpoint
from beit_exp.weights.architecture import LAYER_SCALE
from beit_exp.weights.hugging_face import model_config
from beit_exp.weights.model_settings import model_settings, num_classes

Shapes = dict[str, tuple[int, ...]]
TABLE = "relative_position_bias_table"
TOLD = (
    *("image_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio"),
    *("rel_pos_bias", "shared_rel_pos_bias", "abs_pos_emb", "layer_scale_init_value", "pooling"),
)


def published_shapes(cfg: Any, *, classes: int | None) -> Shapes:
    """The names and shapes of a file as unilm publishes it."""
    width, side = cfg.embed_dim, cfg.image_size // cfg.patch_size
    hidden, table = int(cfg.mlp_ratio * width), ((2 * side - 1) ** 2 + 3, cfg.num_heads)
    block: Shapes = {
        **{
            f"{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")
        },
        "attn.qkv.weight": (3 * width, width),
        "attn.q_bias": (width,),
        "attn.v_bias": (width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc2.bias": (width,),
    }
    if cfg.layer_scale_init_value is not None:
        block |= {"gamma_1": (width,), "gamma_2": (width,)}
    if cfg.rel_pos_bias:
        block[f"attn.{TABLE}"] = table
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "patch_embed.proj.weight": (width, 3, cfg.patch_size, cfg.patch_size),
        "patch_embed.proj.bias": (width,),
        **{
            f"blocks.{number}.{name}": shape
            for number in range(cfg.depth)
            for name, shape in block.items()
        },
    }
    if cfg.shared_rel_pos_bias:
        shapes[f"rel_pos_bias.{TABLE}"] = table
    if cfg.abs_pos_emb:
        shapes["pos_embed"] = (1, side * side + 1, width)
    if classes is not None:
        norm = "fc_norm" if cfg.pooling == "mean" else "norm"
        shapes |= {f"{norm}.weight": (width,), "head.weight": (classes, width)}
    return shapes


def write_empty(path: Path, shapes: Shapes) -> str:
    """A .safetensors file of zeros that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return str(path)


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
