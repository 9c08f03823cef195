"""The network of a checkpoint: as it was trained, and as other programs get it."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from beit_exp.config.schema import Config, DatasetConfig, HardwareConfig, ModelConfig
from beit_exp.hardware.device import Runtime
from beit_exp.inference.network import (
    as_function,
    class_names,
    load_network,
    load_portable_network,
)
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.train.checkpoint import save_checkpoint

PUBLISHED = Path(__file__).resolve().parents[1] / "golden" / "model" / "rel_pos"
RUNTIME = Runtime("CPU", half=ms.float32, rank=0, size=1)
MODEL = ModelConfig(
    arch="golden",
    image_size=32,
    patch_size=8,
    embed_dim=48,
    depth=3,
    num_heads=3,
    mlp_ratio=4.0,
    rel_pos_bias=True,
    shared_rel_pos_bias=False,
    abs_pos_emb=False,
    layer_scale_init_value=0.1,
    drop_path_rate=0.0,
    head_init_scale=0.001,
    pooling="mean",
    pretrained=None,
)


def config(checkpoint: Path, *, amp_level: str = "O0") -> Config:
    return Config.model_construct(
        model=MODEL,
        dataset=DatasetConfig.model_construct(num_classes=10),
        hardware=HardwareConfig.model_construct(amp_level=amp_level),
        seed=0,
        checkpoint=str(checkpoint),
        checkpoint_kind="best",
    )


@pytest.mark.slow
@pytest.mark.parametrize("amp_level", ["O0", "O2"])
def test_portable_networks_are_float32_and_others_as_the_settings_say(amp_level: str) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    reference = np.load(PUBLISHED / "reference.npz")
    cfg = config(PUBLISHED / "official.pth", amp_level=amp_level)
    portable = as_function(load_portable_network(cfg, RUNTIME))(reference["images"])
    np.testing.assert_allclose(portable, reference["logits"], rtol=0, atol=1e-5)
    as_trained = as_function(load_network(cfg, RUNTIME))(reference["images"])
    difference = np.abs(as_trained - reference["logits"]).max()
    assert (difference > 1e-4) == (amp_level == "O2") and difference < 0.1


def test_classes_are_those_of_the_checkpoint_or_numbers(tmp_path: Path) -> None:
    assert class_names(config(PUBLISHED / "official.pth")) == list("0123456789")
    network = build_model(
        MODEL, num_classes=10, precision=build_precision("O0", half=ms.float32), seed=0
    )
    tensors = {f"model/{parameter.name}": parameter for parameter in network.get_parameters()}
    path, names = tmp_path / "best.safetensors", list("abcdefghij")
    save_checkpoint(path, tensors, {"classes": names})
    assert class_names(config(path)) == names
