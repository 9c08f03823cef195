from __future__ import annotations

import re

import mindspore as ms
import pytest
from mindspore import nn
from settings import GOLDEN, make_config

from beit_exp.errors import UserError
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.weights.architecture import architecture, settings_that_fit
from beit_exp.weights.load import load_trained

VARIANTS = {  # of the reference networks: what tells one from the others
    "rel_pos": ("model.abs_pos_emb=false",),
    "shared_rel_pos": (
        "model.abs_pos_emb=false",
        "model.rel_pos_bias=false",
        "model.shared_rel_pos_bias=true",
    ),
    "abs_pos": ("model.rel_pos_bias=false", "model.layer_scale_init_value=null"),
    "cls_token": ("model.abs_pos_emb=false", "model.pooling=cls"),
}


def build(*overrides: str) -> nn.Cell:
    precision = build_precision("O0", half=ms.float32)
    return build_model(make_config(*overrides).model, num_classes=10, precision=precision, seed=0)


def shapes_of(network: nn.Cell) -> dict[str, tuple[int, ...]]:
    return {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}


@pytest.mark.parametrize("wrong", VARIANTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_that_do_not_fit_are_answered_with_settings_that_do(
    variant: str, wrong: str
) -> None:
    """The quickstart's sizes are other ones, and the file is of one of four kinds."""
    file = str(GOLDEN / "model" / variant / "official.pth")
    with pytest.raises(UserError, match="does not fit the network") as raised:
        load_trained(build(*VARIANTS[wrong]), file)
    told = re.findall(r"model\.[a-z_]+=[a-z0-9.]+", str(raised.value).rpartition("it would: ")[2])
    load_trained(build(*VARIANTS[wrong], *told), file)


def test_a_network_tells_the_settings_that_it_was_built_with() -> None:
    settings = ("model.embed_dim=48", "model.depth=3", "model.num_heads=3", "model.mlp_ratio=2.0")
    cfg = make_config(*settings).model.model_dump()
    found = architecture(shapes_of(build(*settings)))
    assert found == {name: cfg[name] for name in found} and len(found) == 10


def test_of_networks_alike_nothing_is_told() -> None:
    shapes = shapes_of(build("model.depth=1"))
    assert settings_that_fit(shapes, shapes) == []


def test_a_file_of_another_network_is_told_no_settings() -> None:
    assert settings_that_fit({"layer1.0.conv1.weight": (64, 3, 7, 7)}, {}) == []


def test_shapes_of_something_else_are_told_as_they_are() -> None:
    shapes = {"blocks.x.gamma_1": (), "patch_embed.proj.weight": (), "blocks.7.mlp.fc1.weight": ()}
    assert architecture(shapes)["depth"] == 1
