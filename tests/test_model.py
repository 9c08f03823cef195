from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from conftest import GOLDEN, make_config
from mindspore import Tensor

from beit_exp.model.attention import relative_position_index
from beit_exp.model.build import build_model, drop_path_keep
from beit_exp.model.cost import parameter_count
from beit_exp.model.precision import Precision, build_precision
from beit_exp.weights.names import to_official

O0 = build_precision("O0", half=ms.float32)
PUBLISHED = json.loads((GOLDEN / "published_sizes.json").read_text())


def build(*overrides: str, precision: Precision = O0, seed: int = 0, num_classes: int = 10):
    cfg = make_config(*overrides)
    return build_model(cfg.model, num_classes=num_classes, precision=precision, seed=seed)


def arrays_of(network) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


@pytest.mark.parametrize("arch", PUBLISHED)
def test_parameter_count_is_the_published_one(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seconds for 300 M numbers
    monkeypatch.setattr("beit_exp.model.build.initialise", lambda *_, **__: None)
    network = build(f"model={arch}", num_classes=1000)
    assert (
        sum(parameter.size for parameter in network.get_parameters())
        == PUBLISHED[arch]["parameters"]
    )


@pytest.mark.parametrize(
    "settings", [(), ("model.rel_pos_bias=false", "model.shared_rel_pos_bias=true")]
)
def test_counted_parameters_are_those_of_the_network(settings: tuple[str, ...]) -> None:
    cfg = make_config(*settings).model
    network = build(*settings)
    assert parameter_count(cfg, num_classes=10) == sum(
        parameter.size for parameter in network.get_parameters()
    )


def test_official_names_and_shapes_are_those_of_the_published_file() -> None:
    official = to_official(arrays_of(build("model=beit_base_patch16_224", num_classes=1000)))
    published = PUBLISHED["beit_base_patch16_224"]["state_dict"]
    assert {name: list(array.shape) for name, array in official.items()} == published


def test_relative_position_index_has_the_official_rows() -> None:
    index = relative_position_index(14)
    picked = [
        index[1, 1],
        index[1, 2],
        index[2, 1],
        index[1, 15],
        index[15, 1],
        index[1, 196],
        index[196, 1],
    ]
    assert picked == [364, 363, 365, 337, 391, 0, 728]
    assert (index[0, 1], index[1, 0], index[0, 0]) == (729, 730, 731)
    assert index.sum() == 14_270_119


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


def test_drop_path_of_zero_costs_nothing() -> None:
    assert drop_path_keep(0.0, depth=3, seed=7, micro_step=2, slots=np.arange(8)) is None


def test_a_dropped_branch_leaves_the_image_as_it_was() -> None:
    network = build("model.depth=1", "model.rel_pos_bias=true")
    images = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32))
    nothing_kept = Tensor(np.zeros((1, 2, 2), np.float32))
    tokens = network.features(network.patch_embed(images), nothing_kept).asnumpy()
    embedded = network.patch_embed(images).asnumpy() + network.pos_embed.asnumpy()[:, 1:]
    np.testing.assert_allclose(tokens[:, 1:], embedded, atol=1e-6)


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_half_precision_stays_near_float32(level: str) -> None:
    images = Tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32))
    exact = build("model.head_init_scale=1.0")(images).asnumpy()
    network = build("model.head_init_scale=1.0", precision=build_precision(level, half=ms.float16))
    rounded = network(images)
    assert rounded.dtype == ms.float32
    difference = np.abs(rounded.asnumpy() - exact).max()
    assert 0 < difference < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        ("O0", (ms.float32, ms.float32, ms.float32)),
        ("O1", (ms.float16, ms.float32, ms.float32)),
        ("O2", (ms.float16, ms.float16, ms.float32)),
        ("O3", (ms.float16, ms.float16, ms.float16)),
    ],
)
def test_amp_level_says_what_is_cast(level: str, kinds: tuple) -> None:
    assert build_precision(level, half=ms.float16) == Precision(*kinds)
