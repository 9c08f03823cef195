from __future__ import annotations

import pytest
from networks import build
from settings import make_config

from beit_exp.model.cost import forward_flops, parameter_count, training_bytes

PUBLISHED = {  # billions of multiply-adds of one image, as timm 1.0 counts them
    "beit_base_patch16_224": 17.58,
    "beit_base_patch16_384": 55.48,
    "beit_large_patch16_224": 61.60,
    "beit_large_patch16_512": 362.24,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_work_of_an_image_is_the_published(name: str) -> None:
    cfg = make_config(f"model={name}")
    assert forward_flops(cfg.model, num_classes=1000) / 2e9 == pytest.approx(
        PUBLISHED[name], rel=0.005
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


def test_computed_memory_knows_how_much_an_optimizer_keeps() -> None:
    cfg = make_config()
    one, two = (training_bytes(cfg, product=4, layer=4, moments=count) for count in (1, 2))
    assert two - one == 4 * parameter_count(cfg.model, num_classes=10)
