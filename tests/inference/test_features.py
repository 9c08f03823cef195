"""Features: what a network's blocks give out, pooled, in the order of the images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image
from settings import GOLDEN, TINY, make_config

from beit_exp.config.schema import Config
from beit_exp.data.listing import ImageList
from beit_exp.errors import UserError
from beit_exp.hardware.device import Runtime
from beit_exp.inference.attention import block_weights
from beit_exp.inference.features import (
    BlockFeatures,
    block_numbers,
    feature_rows,
    load_features,
)
from beit_exp.model.beit import Backbone
from beit_exp.model.build import build_backbone
from beit_exp.model.precision import build_precision
from beit_exp.train.checkpoint import save_checkpoint

POOLINGS = ("cls", "mean", "both", "attention", "tokens")
TABLES = {
    "own": ("model.rel_pos_bias=true",),
    "shared": ("model.rel_pos_bias=false", "model.shared_rel_pos_bias=true"),
    "none": ("model.rel_pos_bias=false", "model.abs_pos_emb=true"),
}
RUNTIME = Runtime("CPU", half=ms.float32, rank=0, size=1)


def backbone(cfg: Config) -> Backbone:
    """A network whose every parameter is random, tables and layer scales, too."""
    network = build_backbone(cfg.model, precision=build_precision("O0", half=ms.float32))
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        value = rng.normal(0, 0.3, parameter.shape)
        parameter.set_data(Tensor(value.astype(np.float32)))
    return network


def by_hand(network: Backbone, images: np.ndarray) -> dict[str, np.ndarray]:
    """(B, L, F) of every pooling: block after block, pooled in float64."""
    x_BND = network.tokens(network.patch_embed(Tensor(images)))
    shared = None if network.rel_pos_bias is None else network.rel_pos_bias()
    found: dict[str, list[np.ndarray]] = {pooling: [] for pooling in POOLINGS}
    for block in network.blocks:
        weights_BHNN = block_weights(block, x_BND, shared)
        x_BND = block(x_BND, shared, None, None)
        tokens = x_BND.asnumpy().astype(np.float64)
        shares_BP = weights_BHNN[:, :, 0, 1:].sum(axis=1)
        shares_BP /= shares_BP.sum(axis=1, keepdims=True)
        cls, mean = tokens[:, 0], tokens[:, 1:].mean(axis=1)
        found["cls"].append(cls)
        found["mean"].append(mean)
        found["both"].append(np.concatenate([cls, mean], axis=1))
        found["attention"].append(np.einsum("bp,bpd->bd", shares_BP, tokens[:, 1:]))
        found["tokens"].append(tokens)
    return {pooling: np.stack(each, axis=1) for pooling, each in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("tables", TABLES)
def test_features_are_the_pooled_outputs_of_the_blocks(tables: str) -> None:
    network = backbone(make_config(*TINY, "model.depth=3", *TABLES[tables]))
    images = np.random.default_rng(1).standard_normal((2, 3, 32, 32), np.float32)
    expected = by_hand(network, images)
    for pooling in POOLINGS:
        cell = BlockFeatures(network, blocks=[0, 2], pooling=pooling)
        found = cell(Tensor(images)).asnumpy()
        np.testing.assert_allclose(found, expected[pooling][:, [0, 2]], rtol=2e-5, atol=2e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("pooling", ["both", pytest.param("attention", marks=pytest.mark.slow)])
def test_a_compiled_network_gives_the_same_features(pooling: str) -> None:
    network = backbone(make_config(*TINY))
    images = np.random.default_rng(1).standard_normal((2, 3, 32, 32), np.float32)
    cell = BlockFeatures(network, blocks=[1], pooling=pooling)
    compiled = cell(Tensor(images)).asnumpy()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(compiled, cell(Tensor(images)).asnumpy(), rtol=1e-5, atol=1e-5)


def test_blocks_counted_from_the_end_have_the_numbers_from_the_beginning() -> None:
    assert block_numbers([-1, 0, 1], 12) == [0, 1, 11]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["model/rel_pos", "mim"])
def test_features_are_of_fine_tuned_and_of_pretrained_weights(place: str) -> None:
    tables = ("model.rel_pos_bias=false", "model.shared_rel_pos_bias=true") * (place == "mim")
    size = ("model.embed_dim=48", "model.depth=3", "model.num_heads=3", "model.abs_pos_emb=false")
    checkpoint = f"checkpoint={GOLDEN / place / 'official.pth'}"
    cfg = make_config("task=features", checkpoint, *size, *tables, "features.pooling=cls")
    network = load_features(cfg, RUNTIME, blocks=[2]).network
    names = {parameter.name.partition(".")[0] for parameter in network.get_parameters()}
    assert names - {"rel_pos_bias"} == {"blocks", "cls_token", "patch_embed"}
    assert ("rel_pos_bias" in names) == (place == "mim")
    assert np.abs(network.cls_token.asnumpy()).max() > 0
    assert np.abs(network.blocks[2].mlp.fc2.weight.asnumpy()).max() > 0


@pytest.fixture
def pictures(tmp_path: Path) -> ImageList:
    """Seven images that nobody else has."""
    rng, paths = np.random.default_rng(0), []
    for number in range(7):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(paths[-1])
    return ImageList(paths, np.zeros(7, np.int32), [])


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("batch_size", [3])
def test_ranks_bring_the_features_of_one_process_in_the_order_of_the_images(
    pictures: ImageList, batch_size: int
) -> None:
    cfg = make_config(*TINY, f"train.batch_size={batch_size}")
    cell = BlockFeatures(backbone(cfg), blocks=[0, 1], pooling="mean")

    def rows(runtime) -> list[np.ndarray]:
        return list(feature_rows(cell, pictures, cfg, runtime, check_stop=lambda: None))

    alone = np.concatenate(rows(RUNTIME))
    sent: list[list[np.ndarray]] = []
    for rank in range(3):
        sent.append([])
        rows(
            SimpleNamespace(
                rank=rank, size=3, gather=lambda row: sent[-1].append(row) or np.stack([row] * 3)
            )
        )
    assert len({len(of_rank) for of_rank in sent}) == 1  # or one would wait for ever
    answers = iter([np.stack(each) for each in zip(*sent, strict=True)])
    together = rows(SimpleNamespace(rank=0, size=3, gather=lambda _: next(answers)))
    assert alone.shape == (7, 2, 32) and len({row.tobytes() for row in alone}) == 7
    np.testing.assert_allclose(np.concatenate(together), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_signal_ends_the_work_of_one_process(pictures: ImageList) -> None:
    cfg = make_config(*TINY, "train.batch_size=2")
    cell = BlockFeatures(backbone(cfg), blocks=[0], pooling="cls")

    def stop() -> None:
        raise InterruptedError

    found = feature_rows(cell, pictures, cfg, RUNTIME, check_stop=stop)
    assert len(next(found)) == 2
    with pytest.raises(InterruptedError):
        next(found)


def test_a_block_that_the_weights_lack_is_named(tmp_path: Path) -> None:
    cfg = make_config(*TINY)
    tensors = {f"model/{each.name}": each for each in backbone(cfg).get_parameters()}
    save_checkpoint(tmp_path / "best.safetensors", tensors, {})
    wanted = make_config(
        *TINY, "task=features", f"checkpoint={tmp_path / 'best.safetensors'}", "model.depth=3"
    )
    with pytest.raises(UserError, match=r"blocks\.2\..* is missing"):
        load_features(wanted, RUNTIME, blocks=[0])
