"""A folder for Hugging Face's transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from beit_exp.config.schema import DatasetConfig, ModelConfig
from beit_exp.weights.hugging_face import write_folder
from beit_exp.weights.names import to_hugging_face, to_ours
from beit_exp.weights.read import read_weights

MODEL = ModelConfig.model_construct(
    image_size=28,
    patch_size=7,
    embed_dim=48,
    depth=2,
    num_heads=3,
    mlp_ratio=4.0,
    drop_path_rate=0.1,
    layer_scale_init_value=0.1,
    abs_pos_emb=False,
    rel_pos_bias=True,
    shared_rel_pos_bias=False,
    pooling="mean",
)
DATASET = DatasetConfig.model_construct(
    multi_label=False,
    crop_pct=0.875,
    interpolation="bicubic",
    mean=[0.5, 0.4, 0.3],
    std=[0.2, 0.2, 0.1],
)
NAMES = [
    "cls_token",
    "patch_embed.proj.weight",
    *(
        f"blocks.{block}.{name}"
        for block in range(2)
        for name in (
            "norm1.bias",
            "attn.q.weight",
            "attn.k.weight",
            "rel_pos.relative_position_bias_table",
            "attn.proj.bias",
            "mlp.fc1.weight",
            "gamma_2",
        )
    ),
    "fc_norm.weight",
    "head.bias",
]


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal((4, 3)).astype(np.float32) for name in NAMES}


def test_the_folder_holds_the_weights_and_describes_network_and_images(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = tmp_path / "huggingface"
    write_folder(folder, arrays, model=MODEL, dataset=DATASET, classes=["cat", "dog"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    found = read_weights(folder / "model.safetensors")
    assert found.keys() == arrays.keys()
    assert all((found[name] == array).all() for name, array in arrays.items())
    described = json.loads((folder / "config.json").read_text())
    assert (described["hidden_size"], described["intermediate_size"]) == (48, 192)
    assert (described["num_hidden_layers"], described["num_attention_heads"]) == (2, 3)
    assert described["problem_type"] == "single_label_classification"
    assert (described["id2label"], described["label2id"]) == (
        {"0": "cat", "1": "dog"},
        {"cat": 0, "dog": 1},
    )
    prepared = json.loads((folder / "preprocessor_config.json").read_text())
    assert (prepared["size"], prepared["crop_size"]) == (
        {"shortest_edge": 32},
        {"height": 28, "width": 28},
    )
    assert (prepared["image_mean"], prepared["image_std"]) == (DATASET.mean, DATASET.std)


def test_names_of_transformers_are_ours_again(arrays: dict[str, np.ndarray]) -> None:
    theirs = to_hugging_face(arrays)
    assert "beit.encoder.layer.1.attention.attention.query.weight" in theirs
    assert {"classifier.bias", "beit.pooler.layernorm.weight"} < theirs.keys()
    assert list(to_ours(theirs)) == NAMES
