from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from networks import O0, build
from settings import GOLDEN, pretraining

from beit_exp.model.build import build_masked_model, drop_path_keep
from beit_exp.weights.names import to_official

PUBLISHED = json.loads((GOLDEN / "published_sizes.json").read_text())


def arrays_of(network) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


@pytest.mark.parametrize(
    "arch",
    [pytest.param(arch, marks=pytest.mark.slow) if "large" in arch else arch for arch in PUBLISHED],
)
def test_parameter_count_is_the_published_one(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seconds for 300 M numbers
    monkeypatch.setattr("beit_exp.model.build.initialise", lambda *_, **__: None)
    network = build(f"model={arch}", num_classes=1000)
    assert (
        sum(parameter.size for parameter in network.get_parameters())
        == PUBLISHED[arch]["parameters"]
    )


def test_official_names_and_shapes_are_those_of_the_published_file() -> None:
    official = to_official(arrays_of(build("model=beit_base_patch16_224", num_classes=1000)))
    published = PUBLISHED["beit_base_patch16_224"]["state_dict"]
    assert {name: list(array.shape) for name, array in official.items()} == published


def test_initial_weights_have_the_official_spread() -> None:
    cfg = (
        "model.embed_dim=256",
        "model.depth=4",
        "model.head_init_scale=0.001",
        "model.num_heads=4",
    )
    arrays = arrays_of(build(*cfg, num_classes=100))
    assert arrays["blocks.0.attn.q.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert arrays["blocks.3.mlp.fc1.weight"].std() == pytest.approx(0.02, rel=0.02)
    for block in (0, 3):
        rescaled = 0.02 / np.sqrt(2 * (block + 1))
        assert arrays[f"blocks.{block}.attn.proj.weight"].std() == pytest.approx(rescaled, rel=0.02)
        assert arrays[f"blocks.{block}.mlp.fc2.weight"].std() == pytest.approx(rescaled, rel=0.02)
    assert arrays["head.weight"].std() == pytest.approx(0.02 * 0.001, rel=0.02)
    bound = (3 * 8 * 8) ** -0.5
    assert np.abs(arrays["patch_embed.proj.weight"]).max() == pytest.approx(bound, rel=0.01)
    assert not arrays["blocks.0.rel_pos.relative_position_bias_table"].any()
    assert (arrays["blocks.0.gamma_1"] == np.float32(0.1)).all()
    assert (arrays["fc_norm.weight"] == 1).all()


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, same, other = (
        arrays_of(build(seed=seed))["blocks.1.mlp.fc1.weight"] for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert (first != other).any()


def test_drop_path_rises_linearly_and_keeps_the_mean() -> None:
    keep = drop_path_keep(0.4, depth=5, seed=0, micro_step=0, slots=np.arange(20_000))
    assert keep.shape == (5, 2, 20_000)
    np.testing.assert_allclose(
        (keep == 0).mean(axis=2), np.linspace(0, 0.4, 5)[:, None].repeat(2, 1), atol=0.012
    )
    np.testing.assert_allclose(keep.mean(axis=2), 1, atol=0.02)
    assert (keep[0] == 1).all()


def test_drop_path_draws_per_image_and_per_branch() -> None:
    keep = drop_path_keep(0.5, depth=2, seed=0, micro_step=3, slots=np.arange(64))
    assert 0 < (keep[1, 0] == 0).sum() < 64
    assert (keep[1, 0] != keep[1, 1]).any()


def test_drop_path_of_a_shard_is_its_part_of_the_whole() -> None:
    whole = drop_path_keep(0.5, depth=3, seed=7, micro_step=2, slots=np.arange(8))
    part = drop_path_keep(0.5, depth=3, seed=7, micro_step=2, slots=np.arange(4, 8))
    assert (whole[:, :, 4:] == part).all()


def test_drop_path_of_blocks_beside_follows_their_number_and_shifts_no_rate() -> None:
    many = {"depth": 3, "seed": 0, "micro_step": 0, "slots": np.arange(20_000)}
    keep = drop_path_keep(0.3, **many, extra=range(2, 4))
    # Of four blocks the third and fourth drop 0.2 and 0.3; the network's own three 0, 0.15 and 0.3
    expected = np.array([0, 0.15, 0.3, 0.2, 0.3])[:, None].repeat(2, 1)
    np.testing.assert_allclose((keep == 0).mean(axis=2), expected, atol=0.012)
    np.testing.assert_allclose(keep.mean(axis=2), 1, atol=0.02)


def test_drop_path_of_zero_costs_nothing() -> None:
    assert drop_path_keep(0.0, depth=3, seed=7, micro_step=2, slots=np.arange(8)) is None


def test_initial_weights_are_cut_off_at_one_deviation() -> None:
    cfg = pretraining(Path("digits"), "model.embed_dim=64")
    arrays = arrays_of(build_masked_model(cfg.model, cfg.mask, vocabulary=16, precision=O0, seed=0))
    for name in (
        "patch_embed.proj.weight",
        "mask_token",
        "cls_token",
        "pos_embed",
        "lm_head.weight",
    ):
        assert 0.015 < np.abs(arrays[name]).max() <= 0.02, name
    # the standard deviation of a normal law cut off at ±1 is 0.5396 of the whole one's
    assert arrays["lm_head.weight"].std() == pytest.approx(0.5396 * 0.02, rel=0.05)
    assert np.abs(arrays["blocks.1.mlp.fc2.weight"]).max() == pytest.approx(0.02 / 2, rel=0.05)
    assert not arrays["patch_embed.proj.bias"].any() and not arrays["lm_head.bias"].any()


def test_blocks_beside_the_network_begin_as_pytorchs_linear_layers() -> None:
    words = ("model.embed_dim=128", "model.depth=3", "mask.early_block=2", "mask.head_blocks=2")
    cfg = pretraining(Path("digits"), *words, "mask.shared_lm_head=false")
    network = build_masked_model(cfg.model, cfg.mask, vocabulary=16, precision=O0, seed=0)
    arrays = arrays_of(network)
    width, hidden = 128**-0.5, 512**-0.5
    expected = {
        "cls_pt_layers.0.attn.k.weight": width,
        "cls_pt_layers.1.mlp.fc1.weight": width,
        "cls_pt_layers.1.mlp.fc1.bias": width,
        "cls_pt_layers.1.mlp.fc2.bias": hidden,
        "cls_pt_layers.0.attn.proj.weight": width / 6**0.5,  # as if it were the third block
        "cls_pt_layers.1.mlp.fc2.weight": hidden / 8**0.5,
        "cls_pt_lm_head.weight": 0.02,
        "blocks.0.attn.k.weight": 0.02,
    }
    for name, largest in expected.items():
        assert np.abs(arrays[name]).max() == pytest.approx(largest, rel=0.03), name
        assert abs(arrays[name].mean()) < 0.1 * largest, name
    for name in ("attn.q.bias", "attn.v.bias", "norm1.bias"):
        assert not arrays[f"cls_pt_layers.0.{name}"].any(), name
    assert not arrays["cls_pt_lm_head.bias"].any()
    assert (arrays["cls_pt_layers.1.gamma_2"] == np.float32(0.1)).all()
